"""Example calls of billing."""

import uuid

from billing.usage_writer import record_usage
from kernel.loop import on_loop
from tests.billing.events import usage_event
from tests.isolation.calls import Call, Made
from tests.support.cast import Company


def _usage(company: Company) -> uuid.UUID:
    """One attempt of the owner's."""
    event = usage_event(company.owner)
    on_loop(record_usage(event))
    return event.request_id


CALLS = (Call("GET", "usage", lambda company: Made(listed=(_usage(company),))),)
