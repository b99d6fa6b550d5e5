"""Webhooks: a tenant's own endpoints are told of events, signed by the Standard Webhooks convention.

An endpoint is subscribed to event types. `fan_out` (a consumer of the outbox) writes a *delivery* for each endpoint that a
notice is for; `deliver` (a sender) makes the attempts, logs each, and says when the next one is. Only `kernel.egress` calls.
"""
