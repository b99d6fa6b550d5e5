"""Requests whose process died: what has to be known of them to bill what there was, kept with their holds."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from billing.holds import Hold
from billing.ledger import settle
from billing.pricing import charge
from billing.types import Payer, Rate, Tariff, Tokens, UsageEvent

KIND = "completion"


class OrphanFacts(msgspec.Struct, frozen=True):
    """What has to be known of an attempt to bill it when the process that made it is gone. Kept as JSON with what it is for."""

    payer: dict[str, str | None]
    request_id: str
    alias: str
    provider: str
    connection: str
    model: str
    platform: bool
    rates: dict[str, tuple[str, int, int, str, int | None]]
    input_tokens: int
    started_at: str


def facts_of(
    *,
    payer: Payer,
    request_id: uuid.UUID,
    alias: str,
    provider: str,
    connection: str,
    model: str,
    platform: bool,
    tariff: Tariff,
    input_tokens: int,
) -> OrphanFacts:
    """The facts of a request, to be stored before the provider is asked. `input_tokens` is an estimate."""
    return OrphanFacts(
        payer={
            "tenant_id": str(payer.tenant_id),
            "principal_kind": payer.principal_kind,
            "membership_id": str(payer.membership_id),
            "api_key_id": None if payer.api_key_id is None else str(payer.api_key_id),
            "subject_kind": payer.subject_kind,
            "subject_id": None if payer.subject_id is None else str(payer.subject_id),
        },
        request_id=str(request_id),
        alias=alias,
        provider=provider,
        connection=connection,
        model=model,
        platform=platform,
        rates={
            meter: (
                str(rate.price_id),
                rate.cost_nano_per_mtok,
                rate.sell_nano_per_mtok,
                rate.tier,
                rate.markup_bps,
            )
            for meter, rate in tariff.rates_for(input_tokens).items()
        },
        input_tokens=input_tokens,
        started_at=datetime.now(tz=UTC).isoformat(),
    )


async def settle_orphan(facts: OrphanFacts, *, output_tokens: int, was_asked: bool = True) -> UsageEvent:
    """Bill a request whose process died, by estimate: what was sent, and what had come of the answer; nothing if the
    provider was never asked. Idempotent, and of no effect beside the settlement of a process that lives after all.
    """
    event = orphan_event(facts, output_tokens=output_tokens)
    await settle(_its_hold(event), (event,) if was_asked else ())
    return event


def orphan_event(facts: OrphanFacts, *, output_tokens: int) -> UsageEvent:
    """The usage event of an attempt whose process died."""
    tariff = Tariff(
        model=facts.model,
        rates={
            meter: Rate(uuid.UUID(price), cost, sell, tier, markup)
            for meter, (price, cost, sell, tier, markup) in facts.rates.items()
        },
    )
    tokens = Tokens(input=facts.input_tokens, output=output_tokens)
    started_at = datetime.fromisoformat(facts.started_at)
    now = datetime.now(tz=UTC)
    return UsageEvent(
        payer=_payer(facts.payer),
        request_id=uuid.UUID(facts.request_id),
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
        charge=charge(tokens, tariff),
        estimated=True,
        streamed=True,
        latency_ms=max(0, round((now - started_at).total_seconds() * 1000)),
        ttft_ms=None,
        finish_reason=None,
        error_code="process_died",
        provider_usage=None,
    )


def _its_hold(event: UsageEvent) -> Hold:
    """The hold, as far as settling needs to know it: the ledger has its amount, and raises it if it must."""
    return Hold(
        tenant_id=event.payer.tenant_id,
        request_id=event.request_id,
        cap_tokens=0,
        amount_nano=0,
        tokens=0,
        is_bounded=False,
    )


def _payer(stored: Mapping[str, str | None]) -> Payer:
    return Payer(
        tenant_id=uuid.UUID(stored["tenant_id"]),
        principal_kind=stored["principal_kind"] or "member",
        membership_id=uuid.UUID(stored["membership_id"]),
        api_key_id=uuid.UUID(stored["api_key_id"]) if stored["api_key_id"] else None,
        subject_kind=stored["subject_kind"],
        subject_id=uuid.UUID(stored["subject_id"]) if stored["subject_id"] else None,
    )
