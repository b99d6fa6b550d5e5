"""What models cost: the prices in force for whoever asks, and what something would have cost or would cost now."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.errors import UnknownPrice
from billing.pricing import charge
from billing.tiers import tier_name
from billing.types import METERS, STANDARD, Charge, Rate, Tariff, Tokens
from kernel import adb
from kernel.errors import InvalidRequest
from providers.routes import ModelNotFound, ResolvedDeployment, list_models, resolve_route
from providers.vocabularies import count_tokens, vocabulary_of
from tenants.principals import Principal

MAX_PERIOD = timedelta(days=92)
MAX_TEXT_CHARS = 100_000
MAX_TOKENS = 100_000_000

# Past requests by how long their prompts were, which is what tiers go by: one row for each stretch between thresholds.
_USED = """
    SELECT count(*) AS requests, sum(sell_nano)::bigint AS sell_nano, max(prompt) AS longest,
        sum(input)::bigint AS input, sum(cache_read)::bigint AS cache_read, sum(cache_write)::bigint AS cache_write,
        sum(output)::bigint AS output, sum(reasoning)::bigint AS reasoning
    FROM (SELECT *, input + cache_read + cache_write AS prompt FROM billing_usagerecord) u
    WHERE u.at >= %(since)s AND u.at < %(until)s AND (%(alias)s::text IS NULL OR u.alias = %(alias)s)
    GROUP BY width_bucket(prompt::float8, %(edges)s::float8[])
"""


@dataclass(frozen=True, slots=True)
class TierPrices:
    """The rates of one tier, by meter."""

    service: str
    above_tokens: int
    rates: Mapping[str, Rate]


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """A model, by the alias to call it, and the prices of the deployment that is tried first; no tiers where it has no
    price, and can't be called. `own` says that it is called with the tenant's own key."""

    alias: str
    provider: str
    own: bool
    tiers: tuple[TierPrices, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """What a request comes to at one of a model's deployments."""

    provider: str
    own: bool
    tier: str
    charge: Charge


@dataclass(frozen=True, slots=True)
class Simulation:
    """What so many tokens come to, at each deployment of a model in the order in which they are tried. Of past use `requests`
    is how many requests there were, and `was_sell_nano` what they were charged."""

    tokens: Tokens
    options: tuple[Option, ...]
    requests: int | None = None
    was_sell_nano: int | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """Past use: from a moment on, up to another; of one alias, or of all."""

    since: datetime
    until: datetime
    alias: str | None = None


async def model_prices(caller: Principal, *, after: str | None, limit: int) -> Sequence[ModelPrices]:
    """The prices in force of the models that this caller may use, by alias: those after one, one more than `limit`."""
    models = [model for model in await list_models(caller) if after is None or model.alias > after]
    chosen = sorted(models, key=lambda model: model.alias)[: limit + 1]
    return [await _prices_of(caller, model.alias, model.provider) for model in chosen]


async def _prices_of(caller: Principal, alias: str, provider: str) -> ModelPrices:
    try:
        route = await resolve_route(caller, alias)
    except (UnknownPrice, ModelNotFound):
        return ModelPrices(alias, provider, own=False, tiers=())
    first = route.deployments[0]
    return ModelPrices(alias, first.provider, own=not first.platform, tiers=tuple(_tiers(first.tariff)))


def _tiers(tariff: Tariff) -> Iterable[TierPrices]:
    yield TierPrices(STANDARD, 0, tariff.rates)
    for tier in sorted(tariff.tiers, key=lambda one: (one.service != STANDARD, one.service, one.above)):
        yield TierPrices(tier.service, tier.above, tier.rates)


async def simulate_tokens(caller: Principal, *, alias: str, tokens: Tokens, service: str = STANDARD) -> Simulation:
    """What so many tokens come to in one request. Raises `ModelNotFound` and `UnknownPrice`."""
    route = await resolve_route(caller, alias)
    return Simulation(tokens, tuple(_option(one, tokens, service) for one in route.deployments))


async def simulate_text(
    caller: Principal, *, alias: str, text: str, output_tokens: int, service: str = STANDARD
) -> Simulation:
    """What it comes to if a model reads a text and writes so many tokens. The text is counted as the first deployment's model
    counts, or nearly so (`providers.vocabularies`)."""
    route = await resolve_route(caller, alias)
    first = route.deployments[0]
    count = await asyncio.to_thread(count_tokens, [text], vocabulary_of(first.model))
    tokens = Tokens(input=max(1, count), output=output_tokens)
    return Simulation(tokens, tuple(_option(one, tokens, service) for one in route.deployments))


async def simulate_period(caller: Principal, *, alias: str, period: Period) -> Simulation:
    """What the tenant's past use would come to with this model, at the prices that are in force now.

    Every request has the tier of its own prompt; what is charged is rounded once for each tier, not for each request, so the
    sum may differ from a bill by half a nano-dollar for each line of it. Audio is taken as text, and what was kept in a
    provider's cache for an hour as if for five minutes: records hold these apart only in their charges.
    """
    if not timedelta(0) < period.until - period.since <= MAX_PERIOD:
        raise InvalidRequest(f"A period is from one moment to a later one, at most {MAX_PERIOD.days} days.")
    route = await resolve_route(caller, alias)
    edges = sorted({float(tier.above) + 0.5 for one in route.deployments for tier in one.tariff.tiers if tier.above})
    async with adb.transaction(caller.tenant_id) as connection:
        cursor = await connection.execute(
            _USED, {"edges": edges or [0.0], "since": period.since, "until": period.until, "alias": period.alias}
        )
        rows = await cursor.fetchall()
    stretches = [(row["longest"], Tokens(**{meter: row[meter] for meter in METERS})) for row in rows]
    whole = Tokens(**{meter: sum(row[meter] for row in rows) for meter in METERS})
    options = tuple(
        Option(one.provider, not one.platform, STANDARD, _together(one.tariff, stretches)) for one in route.deployments
    )
    return Simulation(
        whole,
        options,
        requests=sum(row["requests"] for row in rows),
        was_sell_nano=sum(row["sell_nano"] for row in rows),
    )


def _option(deployment: ResolvedDeployment, tokens: Tokens, service: str) -> Option:
    tariff = deployment.tariff
    above = max(
        (tier.above for tier in tariff.tiers if tier.service == service and tokens.prompt > tier.above), default=0
    )
    served = service if any(tier.service == service for tier in tariff.tiers) else STANDARD
    return Option(
        deployment.provider,
        not deployment.platform,
        tier_name(served, above),
        charge(tokens, tariff, service=service),
    )


def _together(tariff: Tariff, stretches: Sequence[tuple[int, Tokens]]) -> Charge:
    """The charge of requests whose prompts were at most so long, stretch by stretch."""
    charges = [charge(tokens, Tariff(tariff.model, tariff.rates_for(longest))) for longest, tokens in stretches]
    return Charge(
        cost_nano=sum(one.cost_nano for one in charges),
        sell_nano=sum(one.sell_nano for one in charges),
        lines=tuple(line for one in charges for line in one.lines),
    )
