"""The public price lists of providers, as the package `genai-prices` bundles them: read offline, never fetched.

What is listed in US dollars for a million tokens becomes nano-dollars by meter and tier (`billing.tiers`). Where a list doesn't
price a meter apart, its tokens cost what the vendor says of them otherwise: cached ones as input, reasoning as output. A price
that depends on the time of day is taken at its dearest: the book knows no hours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import ROUND_CEILING, Decimal
from importlib.metadata import version

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, StartDateConstraint, TieredPrices

from billing.tiers import tier_name
from billing.types import STANDARD

NANO = 1_000_000_000
SOURCE = "genai-prices"
HORIZON = timedelta(days=366)
"""Prices to come are looked for so far ahead."""

VARIANTS: Mapping[str, Mapping[str, str]] = {
    STANDARD: {},
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
}
"""Our services, and what the list calls them."""

# A meter, and the prices of the list that may say what it costs, the first that is there.
_KEYS: Mapping[str, Sequence[str]] = {
    "input": ("input_mtok",),
    "cache_read": ("cache_read_mtok", "input_mtok"),
    "cache_write": ("cache_write_5m_mtok", "cache_write_mtok", "input_mtok"),
    "output": ("output_mtok",),
    "reasoning": ("output_reasoning_mtok", "output_mtok"),
    "input_audio": ("input_audio_mtok",),
    "cache_write_1h": ("cache_write_1h_mtok",),
    "output_audio": ("output_audio_mtok",),
}
_WRITTEN = ("output", "reasoning")

Costs = Mapping[tuple[str, str], int]
"""Nano-USD for a million tokens, by tier and meter."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list says of one model from a moment on (None: already)."""

    provider: str
    model: str
    effective_from: datetime | None
    costs: Costs


def source() -> str:
    """The list and its version, to be named in what is made of it."""
    return f"{SOURCE} {version(SOURCE)}"


def listed(*, provider: str, model: str, at: datetime) -> Sequence[Listed]:
    """What a provider's list says of a model: what holds at that moment, then what is announced. Nothing if the list doesn't
    know either, or has no price by tokens."""
    try:
        found, info = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return ()
    moments: list[datetime | None] = [None, *_announced(info, at)]
    prices = [Listed(found.id, info.id, moment, _costs(info, moment or at)) for moment in moments]
    kept = [one for i, one in enumerate(prices) if one.costs and (i == 0 or one.costs != prices[i - 1].costs)]
    return tuple(kept)


def _announced(info: ModelInfo, at: datetime) -> Iterator[datetime]:
    conditions = [one.constraint for one in info.prices] if isinstance(info.prices, list) else []
    conditions += [variant.constraint for variant in info.price_variants or ()]
    starts = {
        datetime.combine(one.start_date, time(), UTC) for one in conditions if isinstance(one, StartDateConstraint)
    }
    yield from sorted(start for start in starts if at < start <= at + HORIZON)


def _costs(info: ModelInfo, at: datetime) -> Costs:
    costs: dict[tuple[str, str], int] = {}
    for service, context in VARIANTS.items():
        known = {place: cost for place, cost in costs.items() if place[0].partition(">")[0] == STANDARD}
        mine = _dearest([_by_tier(info.get_prices(moment, dict(context)), service) for moment in _moments(info, at)])
        if service == STANDARD:
            if not any(meter == "input" for _, meter in mine):
                return {}
            costs |= mine
        elif {(_as_standard(tier), meter): cost for (tier, meter), cost in mine.items()} != known:
            costs |= mine
    return costs


def _as_standard(tier: str) -> str:
    _, above, tokens = tier.partition(">")
    return STANDARD + above + tokens


def _moments(info: ModelInfo, at: datetime) -> Sequence[datetime]:
    """The moment, and for prices by the hour every half hour of its day."""
    timed = isinstance(info.prices, list) and any(_by_the_hour(one) for one in info.prices)
    midnight = datetime.combine(at.astimezone(UTC).date(), time(), UTC)
    return [midnight + timedelta(minutes=30 * i) for i in range(48)] if timed else [at]


def _by_the_hour(price: ConditionalPrice) -> bool:
    return price.constraint is not None and not isinstance(price.constraint, StartDateConstraint)


def _dearest(choices: Sequence[Costs]) -> Costs:
    places = {place for costs in choices for place in costs}
    return {place: max(costs[place] for costs in choices if place in costs) for place in sorted(places)}


def _by_tier(price: ModelPrice, service: str) -> Costs:
    said: dict[str, Decimal | TieredPrices] = dict.fromkeys(_WRITTEN, Decimal(0))  # of embeddings nothing is written
    said |= {meter: value for meter, keys in _KEYS.items() if (value := _first(price, keys)) is not None}
    if "input" not in said:
        return {}
    thresholds = {0} | {
        tier.start for value in said.values() if isinstance(value, TieredPrices) for tier in value.tiers
    }
    return {
        (tier_name(service, above), meter): _nano(_at(value, above))
        for above in thresholds
        for meter, value in said.items()
    }


def _first(price: ModelPrice, keys: Sequence[str]) -> Decimal | TieredPrices | None:
    values = (getattr(price, key) for key in keys)
    return next((value for value in values if isinstance(value, Decimal | TieredPrices)), None)


def _at(value: Decimal | TieredPrices, above: int) -> Decimal:
    """The price of a prompt just beyond a threshold."""
    if isinstance(value, Decimal):
        return value
    return next((tier.price for tier in reversed(value.tiers) if above >= tier.start), value.base)


def _nano(usd_per_mtok: Decimal) -> int:
    return int((usd_per_mtok * NANO).to_integral_value(rounding=ROUND_CEILING))
