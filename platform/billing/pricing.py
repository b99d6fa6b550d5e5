"""From tokens to money: integers from end to end.

A rate is nano-USD per million tokens. The charge of a meter is `tokens × rate ÷ 1,000,000`, rounded half up to a whole
nano-dollar; the charge of an attempt is the sum over its meters. So a bill recomputed from its records gives the same
number to the nano-dollar, in any order (docs/adr/0005-money.md).

Each line names its price, its tier and its markup if there was one: with the prices, which are immutable, that is all it
takes to compute it again.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from billing.types import FINER, PRICED_METERS, SERVICES, STANDARD, Charge, Rate, Tariff, Tokens

TOKENS_PER_RATE = 1_000_000
BPS = 10_000
"""Basis points in a whole."""


def charge(tokens: Tokens, tariff: Tariff, *, service: str = STANDARD) -> Charge:
    """What `tokens` cost and are sold at under `tariff`, served as `service`. The tier follows from the tokens read.
    Meters with no tokens leave no line."""
    rates = tariff.rates if not tariff.tiers else tariff.rates_for(tokens.prompt, service)
    lines: list[Mapping[str, Any]] = []
    cost = sell = 0
    for meter, count in _counts(tokens, rates):
        rate = rates[meter]
        meter_cost = amount(count, rate.cost_nano_per_mtok)
        meter_sell = amount(count, rate.sell_nano_per_mtok)
        cost += meter_cost
        sell += meter_sell
        lines.append(_line(meter, count, rate, meter_cost, meter_sell))
    return Charge(cost_nano=cost, sell_nano=sell, lines=tuple(lines))


def _counts(tokens: Tokens, rates: Mapping[str, Rate]) -> Iterable[tuple[str, int]]:
    """The meters that have tokens, disjoint. What has no price of its own is left in the meter that it is part of."""
    parts = dict.fromkeys(FINER.values(), 0)
    finer: list[tuple[str, int]] = []
    for meter, whole in FINER.items():
        count = getattr(tokens, meter)
        if count and meter in rates:
            count = min(count, getattr(tokens, whole) - parts[whole])
            parts[whole] += count
            finer.append((meter, count))
    for meter in PRICED_METERS:
        if meter not in FINER and (count := getattr(tokens, meter) - parts.get(meter, 0)):
            yield meter, count
    yield from ((meter, count) for meter, count in finer if count)


def _line(meter: str, count: int, rate: Rate, cost_nano: int, sell_nano: int) -> dict[str, Any]:
    line: dict[str, Any] = {
        "meter": meter,
        "tokens": count,
        "price": str(rate.price_id),
        "tier": rate.tier,
        "cost_nano": cost_nano,
        "sell_nano": sell_nano,
    }
    if rate.markup_bps is not None:
        line["markup_bps"] = rate.markup_bps
    return line


def amount(tokens: int, nano_per_mtok: int) -> int:
    """The price of `tokens` at a rate, in whole nano-USD, rounded half up."""
    return (tokens * nano_per_mtok + TOKENS_PER_RATE // 2) // TOKENS_PER_RATE


def marked_up(cost_nano_per_mtok: int, markup_bps: int) -> int:
    """The selling price that is so many hundredths of a percent above the cost, rounded up to a whole nano-dollar for a
    million tokens."""
    return -(-cost_nano_per_mtok * (BPS + markup_bps) // BPS)


def worst_rates(tariff: Tariff, prompt_tokens_bound: int, services: Collection[str] = SERVICES) -> Mapping[str, Rate]:
    """The dearest rate of each meter that a request can come to which reads at most so many tokens and is served in one of
    these ways. Dearest by the selling price, then by the cost."""
    worst: dict[str, Rate] = {}
    reachable = (tier.rates for tier in tariff.tiers if tier.service in services and tier.above < prompt_tokens_bound)
    for rates in (tariff.rates, *reachable):
        for meter, rate in rates.items():
            known = worst.get(meter)
            if known is None or _dearness(rate) > _dearness(known):
                worst[meter] = rate
    return worst


def _dearness(rate: Rate) -> tuple[int, int]:
    return rate.sell_nano_per_mtok, rate.cost_nano_per_mtok
