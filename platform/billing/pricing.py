"""From tokens to money: integers from end to end.

A rate is nano-USD per million tokens. The charge of a meter is `tokens × rate ÷ 1,000,000`, rounded half up to a whole
nano-dollar; the charge of an attempt is the sum over its meters. So a bill recomputed from its records gives the same
number to the nano-dollar, in any order (docs/adr/0005-money.md).
"""

from billing.types import METERS, Charge, Tariff, Tokens

TOKENS_PER_RATE = 1_000_000


def charge(tokens: Tokens, tariff: Tariff) -> Charge:
    """What `tokens` cost and are sold at under `tariff`. Meters with no tokens leave no line."""
    lines = []
    cost = sell = 0
    for meter in METERS:
        count = getattr(tokens, meter)
        if count == 0:
            continue
        rate = tariff.rates[meter]
        meter_cost = amount(count, rate.cost_nano_per_mtok)
        meter_sell = amount(count, rate.sell_nano_per_mtok)
        cost += meter_cost
        sell += meter_sell
        lines.append(
            {
                "meter": meter,
                "tokens": count,
                "price": str(rate.price_id),
                "cost_nano": meter_cost,
                "sell_nano": meter_sell,
            }
        )
    return Charge(cost_nano=cost, sell_nano=sell, lines=tuple(lines))


def amount(tokens: int, nano_per_mtok: int) -> int:
    """The price of `tokens` at a rate, in whole nano-USD, rounded half up."""
    return (tokens * nano_per_mtok + TOKENS_PER_RATE // 2) // TOKENS_PER_RATE
