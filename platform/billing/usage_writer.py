"""Usage of requests that have no hold: what costs nothing, because another's answer was given again."""

from collections.abc import Sequence

from billing.commits import UsageNotRecorded
from billing.ledger import settle, settle_all, settle_soon
from billing.types import UsageEvent

__all__ = ("UsageNotRecorded", "record_all", "record_soon", "record_usage")


async def record_usage(event: UsageEvent) -> None:
    """Record one attempt; the same one a second time changes nothing. Returns when it is durable. Raises
    `UsageNotRecorded`; who is cancelled leaves the event to be written.
    """
    await settle(None, (event,))


async def record_all(events: Sequence[UsageEvent]) -> None:
    """Record several attempts; returns when all are durable. Raises `UsageNotRecorded` if one could not be."""
    await settle_all(events)


def record_soon(event: UsageEvent) -> None:
    """Have an event of no cost recorded without waiting for it: a crash may lose what is under way, at most a second's
    worth.
    """
    settle_soon(None, (event,))
