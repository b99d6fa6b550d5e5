"""Usage events to record in tests."""

from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from billing.types import Charge, Payer, Tokens, UsageEvent
from kernel.ids import uuid7
from tests.support.cast import Actor


def usage_event(who: Actor, **changes: Any) -> UsageEvent:
    """A complete attempt of somebody's, with a request id of its own."""
    event = UsageEvent(
        payer=Payer(tenant_id=who.tenant_id, principal_kind="member", membership_id=who.membership_id),
        request_id=uuid7(),
        attempt=1,
        kind="completion",
        at=datetime.now(tz=UTC),
        status="complete",
        alias="m",
        provider="fake",
        connection="c",
        model="m",
        platform_paid=True,
        tokens=Tokens(input=5, output=7),
        charge=Charge(cost_nano=10, sell_nano=20, lines=({"meter": "input", "tokens": 5},)),
        estimated=False,
        streamed=False,
        latency_ms=12,
        ttft_ms=None,
        finish_reason="stop",
        error_code=None,
        provider_usage={"input": 5},
    )
    return replace(event, **changes)
