"""Values of metering and pricing. Money is integer nano-USD; token counts are of disjoint meters."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

METERS = ("input", "cache_read", "cache_write", "output", "reasoning")
"""Disjoint: `input` is what was neither read from nor written to a cache; `reasoning` is not part of `output`. Each has a
column in the usage records, and every model has a price for each."""

FINER: Mapping[str, str] = {"input_audio": "input", "cache_write_1h": "cache_write", "output_audio": "output"}
"""Meters that some vendors price apart, and the meter whose count they are part of: what was heard, what is to stay in the
cache for an hour rather than five minutes, what was said aloud. Where a model has no price for one, its tokens are charged
as the meter they are part of; where it has, that meter is charged for the rest."""

PRICED_METERS = (*METERS, *FINER)
"""What may have a price. Disjoint on the bill: a line of `input` doesn't count what a line of `input_audio` does."""

STANDARD = "standard"
SERVICES = (STANDARD, "batch", "flex", "priority")
"""How a vendor may serve a request, each with prices of its own where it has them."""

ACCOUNTS = (
    "customer",
    "revenue",
    "provider_cost",
    "provider_payable",
    "platform_loss",
    "cash",
    "tax",
    "credit_given",
    "breakage",
)
"""A tenant's accounts. `customer` is what it owes (debit) or has in advance (credit); `revenue` what it was sold, at list
price; `platform_loss` the part of that which it is not charged; `provider_cost` and `provider_payable` what we owe to
providers; `cash` and `tax` what was paid; `credit_given` presents; `breakage` credit that expired unused."""

Status = Literal["complete", "stopped", "failed", "interrupted"]
CacheStatus = Literal["exact", "semantic", "dedupe", "miss", "bypass"]
"""How an answer was come by: from a cache, as another's in flight, anew, or anew because no cache was asked."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What a million tokens of one meter cost us and are sold at, and the price that says so.

    With `markup_bps` (hundredths of a percent) the selling price is that much above the cost, whatever the book says."""

    price_id: uuid.UUID
    cost_nano_per_mtok: int
    sell_nano_per_mtok: int
    tier: str = STANDARD
    markup_bps: int | None = None


@dataclass(frozen=True, slots=True)
class Tier:
    """The rates, by meter, of a request that is served as `service` says and reads more than `above` tokens: of all of
    it, not only of what is beyond. Every meter is there."""

    service: str
    above: int
    rates: Mapping[str, Rate]


@dataclass(frozen=True, slots=True)
class Tariff:
    """The rates in force for one model at one moment, by meter. Every meter of `METERS` is there.

    `tiers` are those of other services and of long prompts, by service, the highest `above` first."""

    model: str
    rates: Mapping[str, Rate]
    tiers: tuple[Tier, ...] = ()

    def rates_for(self, prompt_tokens: int, service: str = STANDARD) -> Mapping[str, Rate]:
        """The rates of a request that reads so many tokens. A service without prices of its own has the standard ones."""
        known = service == STANDARD or any(tier.service == service for tier in self.tiers)
        served = service if known else STANDARD
        for tier in self.tiers:
            if tier.service == served and prompt_tokens > tier.above:
                return tier.rates
        return self.rates


class Tokens(msgspec.Struct, frozen=True):
    """A count per meter, each zero or more. Those of `FINER` are part of the meter they belong to."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    input_audio: int = 0
    cache_write_1h: int = 0
    output_audio: int = 0

    @property
    def prompt(self) -> int:
        """All tokens read."""
        return self.input + self.cache_read + self.cache_write

    @property
    def total(self) -> int:
        """Of all meters."""
        return self.input + self.cache_read + self.cache_write + self.output + self.reasoning

    def by_meter(self) -> dict[str, int]:
        """The counts by the names of the usage records' meters."""
        return {meter: getattr(self, meter) for meter in METERS}


class Charge(msgspec.Struct, frozen=True):
    """What some tokens cost us and are sold at, in all and per meter, with the prices used."""

    cost_nano: int
    sell_nano: int
    lines: tuple[Mapping[str, Any], ...]


class Payer(msgspec.Struct, frozen=True):
    """Who triggered the attempt, and for what: pays, and is named on the bill."""

    tenant_id: uuid.UUID
    principal_kind: str
    membership_id: uuid.UUID
    api_key_id: uuid.UUID | None = None
    subject_kind: str | None = None
    subject_id: uuid.UUID | None = None


class UsageEvent(msgspec.Struct, frozen=True):
    """One attempt at a provider, as it ended. `(tenant, request_id, attempt, kind)` names it for ever.

    `charge` is what it costs by the price list. What the caller saw nothing of (`unseen`) is not charged: that is the
    platform's loss."""

    payer: Payer
    request_id: uuid.UUID
    attempt: int
    kind: str
    at: datetime
    status: Status
    alias: str
    provider: str
    connection: str
    model: str
    platform_paid: bool
    tokens: Tokens
    charge: Charge
    estimated: bool
    streamed: bool
    latency_ms: int
    ttft_ms: int | None
    finish_reason: str | None
    error_code: str | None
    provider_usage: Mapping[str, Any] | None
    cache: CacheStatus = "bypass"
    unseen: bool = False
