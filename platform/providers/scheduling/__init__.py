"""Whose turn it is: how much goes to a deployment at a time, and who waits for it how.

    limiter     how many requests a deployment bears, found out while it works (docs/adr/0007-adaptive-concurrency.md)
    fair_queue  who is next: by class of priority, then by tenant in turn, then by arrival
    gate        the two together: one deployment's slots, what waits for them, and who is sent away instead
    shares      what each tenant may hold while others need some too
    scheduler   the gates of an event loop, and `take_slot`, which waits
    priority    the class of a job, as far as its key allows

All but `scheduler` are plain data without an event loop or a clock. Each process counts for itself: a deployment that is
reached by four web processes gets four times what a gate lets through, and each finds its own part of what it bears."""
