"""Tiers: what makes one model's tokens cost this or that.

A price's tier is a service (`standard`, `batch`, `flex`, `priority`), and may end in a number of tokens: `standard>200000`
is for requests that read more than 200,000 tokens, all of whose tokens then have that price. What a tier has no price for is
charged as without it: first by the same service's lower thresholds, then as standard.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from billing.types import METERS, SERVICES, STANDARD, Rate, Tariff, Tier

TIER_PATTERN = rf"^({'|'.join(SERVICES)})(>[1-9][0-9]{{0,8}})?$"
"""Names of tiers, for PostgreSQL and Python alike."""

Rates = Mapping[str, Rate]


def tier_name(service: str, above: int = 0) -> str:
    """The tier of a service for prompts of more than `above` tokens."""
    return f"{service}>{above}" if above else service


def parse_tier(name: str) -> tuple[str, int]:
    """The service, and the number of tokens that a prompt must exceed. Raises ValueError for a name that is none."""
    if not re.match(TIER_PATTERN, name) or name.endswith("\n"):
        raise ValueError(f"no tier is called {name!r}")
    service, _, above = name.partition(">")
    return service, int(above or 0)


def tariffs_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Tariff]:
    """The tariffs, by model, that rows of prices make: each with `model`, `meter`, `tier`, `id` and both prices. A model
    that is short of a standard price for a meter has none."""
    by_model: dict[str, dict[tuple[str, int], dict[str, Rate]]] = {}
    for row in rows:
        service_and_above = parse_tier(row["tier"])
        by_model.setdefault(row["model"], {}).setdefault(service_and_above, {})[row["meter"]] = Rate(
            price_id=row["id"],
            cost_nano_per_mtok=row["cost_nano_per_mtok"],
            sell_nano_per_mtok=row["sell_nano_per_mtok"],
            tier=row["tier"],
            markup_bps=row.get("markup_bps"),
        )
    return {
        model: Tariff(model=model, rates=tiers[STANDARD, 0], tiers=tuple(_tiers(tiers)))
        for model, tiers in by_model.items()
        if not set(METERS) - tiers.get((STANDARD, 0), {}).keys()
    }


def _tiers(said: Mapping[tuple[str, int], Rates]) -> Iterable[Tier]:
    """Every tier beside the base, whole: by service, the highest threshold first."""
    for service in SERVICES:
        if all(known != service for known, _ in said):
            continue
        thresholds = {above for known, above in said if known in (service, STANDARD)}
        for above in sorted(thresholds, reverse=True):
            if (service, above) != (STANDARD, 0):
                yield Tier(service, above, _whole(said, service, above))


def _whole(said: Mapping[tuple[str, int], Rates], service: str, above: int) -> Rates:
    rates: dict[str, Rate] = {}
    for source in (STANDARD, service):
        for threshold in sorted(known for of, known in said if of == source and known <= above):
            rates.update(said[source, threshold])
    return rates
