"""Requests whose process died: what has to be known of them to bill what there was, kept with their holds."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from billing.holds import Hold
from billing.ledger import settle
from billing.pricing import charge
from billing.types import Payer, Rate, Tariff, Tokens, UsageEvent
from kernel.ids import unix_ms

KIND = "completion"
ESTIMATED_METERS = ("input", "output")
"""What is estimated of such a request: all that was sent, and all that came."""


class OrphanFacts(msgspec.Struct, frozen=True):
    """What has to be known of an attempt to bill it when the process that made it is gone. Kept as JSON with what it is for.

    `rates` are those in force when it was made, of `ESTIMATED_METERS`; `input_tokens` is an estimate."""

    payer: Payer
    request_id: uuid.UUID
    alias: str
    provider: str
    connection: str
    model: str
    platform: bool
    rates: Mapping[str, Rate]
    input_tokens: int


async def settle_orphan(facts: OrphanFacts, *, output_tokens: int, was_asked: bool = True) -> UsageEvent:
    """Bill a request whose process died, by estimate: what was sent, and what had come of the answer; nothing if the
    provider was never asked. Idempotent, and of no effect beside the settlement of a process that lives after all.
    """
    event = orphan_event(facts, output_tokens=output_tokens)
    await settle(_its_hold(facts.payer.tenant_id, facts.request_id), (event,) if was_asked else ())
    return event


async def give_back(tenant_id: uuid.UUID, hold_id: uuid.UUID) -> None:
    """End a hold of a process that is gone, of which nothing was used."""
    await settle(_its_hold(tenant_id, hold_id), ())


def orphan_event(facts: OrphanFacts, *, output_tokens: int) -> UsageEvent:
    """The usage event of an attempt whose process died."""
    tokens = Tokens(input=facts.input_tokens, output=output_tokens)
    now = datetime.now(tz=UTC)
    return UsageEvent(
        payer=facts.payer,
        request_id=facts.request_id,
        attempt=1,
        kind=KIND,
        at=now,
        status="interrupted",
        alias=facts.alias,
        provider=facts.provider,
        connection=facts.connection,
        model=facts.model,
        platform_paid=facts.platform,
        tokens=tokens,
        charge=charge(tokens, Tariff(model=facts.model, rates=facts.rates)),
        estimated=True,
        streamed=True,
        latency_ms=max(0, round(now.timestamp() * 1000) - unix_ms(facts.request_id)),
        ttft_ms=None,
        finish_reason=None,
        error_code="process_died",
        provider_usage=None,
    )


def _its_hold(tenant_id: uuid.UUID, hold_id: uuid.UUID) -> Hold:
    """The hold, as far as settling needs to know it: the ledger has its amount, and raises it if it must."""
    return Hold(
        tenant_id=tenant_id,
        request_id=hold_id,
        cap_tokens=0,
        amount_nano=0,
        tokens=0,
        is_bounded=False,
    )
