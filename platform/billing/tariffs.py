"""Which prices are in force: the latest of each meter whose time has come."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from billing.errors import UnknownPrice
from billing.models import Price, PriceBook, TenantPrice
from billing.types import METERS, Rate, Tariff
from kernel import adb
from kernel.ids import uuid7

STANDARD_BOOK = "standard"

_PLATFORM_SQL = """
    SELECT DISTINCT ON (p.model, p.meter) p.model, p.meter, p.id, p.cost_nano_per_mtok, p.sell_nano_per_mtok
    FROM billing_price p JOIN billing_pricebook b ON b.id = p.book_id AND b.name = 'standard'
    WHERE p.model = ANY(%s) AND p.tier = 'standard' AND p.effective_from <= now()
    ORDER BY p.model, p.meter, p.effective_from DESC
"""
_TENANT_SQL = """
    SELECT DISTINCT ON (p.model, p.meter) p.model, p.meter, p.id, p.cost_nano_per_mtok, p.sell_nano_per_mtok
    FROM billing_tenantprice p
    WHERE p.model = ANY(%s) AND p.tier = 'standard' AND p.effective_from <= now()
    ORDER BY p.model, p.meter, p.effective_from DESC
"""


async def tariffs_in_force(
    connection: adb.Connection, *, platform_models: Sequence[str], tenant_models: Sequence[str]
) -> tuple[dict[str, Tariff], dict[str, Tariff]]:
    """The tariffs of models of the platform, and of the tenant's own connections. Models short of a price are absent."""
    platform = await connection.execute(_PLATFORM_SQL, (list(platform_models),))
    platform_tariffs = _tariffs(await platform.fetchall())
    if not tenant_models:
        return platform_tariffs, {}
    tenant = await connection.execute(_TENANT_SQL, (list(tenant_models),))
    return platform_tariffs, _tariffs(await tenant.fetchall())


def known_tariff(tariffs: dict[str, Tariff], model: str) -> Tariff:
    """The tariff of a model. Raises `UnknownPrice`, naming it."""
    tariff = tariffs.get(model)
    if tariff is None:
        raise UnknownPrice(f"The model {model!r} has no price, so it can't be used.", details={"model": model})
    return tariff


def set_prices(
    *,
    model: str,
    input_nano_per_mtok: int,
    output_nano_per_mtok: int,
    tenant_id: uuid.UUID | None,
    using: str,
    effective_from: datetime | None = None,
) -> None:
    """Enter prices for every meter of a model: cache reads and writes as input, reasoning as output.

    For a platform model (`tenant_id` None) into the standard book, else for the tenant in scope. Prices that are in force
    already are not entered again.
    """
    since = effective_from or timezone.now()
    amounts = dict.fromkeys(METERS, input_nano_per_mtok)
    amounts |= {"output": output_nano_per_mtok, "reasoning": output_nano_per_mtok}
    prices: QuerySet[Price] | QuerySet[TenantPrice]
    owner: dict[str, Any]
    if tenant_id is None:
        book, _ = PriceBook.objects.using(using).get_or_create(name=STANDARD_BOOK, defaults={"id": uuid7()})
        prices, owner = Price.objects.using(using), {"book": book}
    else:
        prices, owner = TenantPrice.objects.using(using), {"tenant_id": tenant_id}
    for meter, amount in amounts.items():
        latest = prices.filter(model=model, meter=meter, effective_from__lte=since, **owner)
        in_force = latest.order_by("-effective_from").first()
        if in_force is None or {in_force.cost_nano_per_mtok, in_force.sell_nano_per_mtok} != {amount}:
            prices.create(
                model=model,
                meter=meter,
                effective_from=since,
                cost_nano_per_mtok=amount,
                sell_nano_per_mtok=amount,
                **owner,
            )


def _tariffs(rows: Iterable[dict[str, Any]]) -> dict[str, Tariff]:
    rates: dict[str, dict[str, Rate]] = {}
    for row in rows:
        rates.setdefault(row["model"], {})[row["meter"]] = Rate(
            price_id=row["id"],
            cost_nano_per_mtok=row["cost_nano_per_mtok"],
            sell_nano_per_mtok=row["sell_nano_per_mtok"],
        )
    return {
        model: Tariff(model=model, rates=by_meter) for model, by_meter in rates.items() if len(by_meter) == len(METERS)
    }
