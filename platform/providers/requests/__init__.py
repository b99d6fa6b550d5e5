"""The log of requests: attempts, timings, tokens and cost, for the tenant's own eyes.

Most of it is read from the usage records. What they can't say (a request that was refused before any attempt, and where the
tenant wants that, what was said) is written by `record`, read by `selectors`, and removed by `expiry`."""
