"""Which prices are in force: the latest of each meter whose time has come."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from billing.errors import UnknownPrice
from billing.models import Price, PriceBook, TenantPrice
from billing.pricing import marked_up
from billing.tiers import tariffs_of
from billing.types import METERS, STANDARD, Tariff
from kernel import adb
from kernel.ids import uuid7

STANDARD_BOOK = "standard"

_PLATFORM_SQL = """
    SELECT DISTINCT ON (p.model, p.meter, p.tier) p.model, p.meter, p.tier, p.id, p.cost_nano_per_mtok, p.sell_nano_per_mtok
    FROM billing_price p JOIN billing_pricebook b ON b.id = p.book_id AND b.name = 'standard'
    WHERE p.model = ANY(%s) AND p.effective_from <= coalesce(%s::timestamptz, now())
    ORDER BY p.model, p.meter, p.tier, p.effective_from DESC
"""
_TENANT_SQL = """
    SELECT DISTINCT ON (p.model, p.meter, p.tier) p.model, p.meter, p.tier, p.id, p.cost_nano_per_mtok, p.sell_nano_per_mtok
    FROM billing_tenantprice p
    WHERE p.model = ANY(%s) AND p.effective_from <= coalesce(%s::timestamptz, now())
    ORDER BY p.model, p.meter, p.tier, p.effective_from DESC
"""


async def tariffs_in_force(
    connection: adb.Connection,
    *,
    platform_models: Sequence[str],
    tenant_models: Sequence[str],
    markup_bps: int | None = None,
    at: datetime | None = None,
) -> tuple[dict[str, Tariff], dict[str, Tariff]]:
    """The tariffs of models of the platform, and of the tenant's own connections, at a moment (None: now). Models short of a
    price are absent.

    With `markup_bps` the platform's models are sold at so many hundredths of a percent above cost, else at the book's own
    selling prices. What a tenant's own connections cost is between it and its provider: nothing is put on that.
    """
    platform = await connection.execute(_PLATFORM_SQL, (list(platform_models), at))
    platform_tariffs = tariffs_of(sold_at_markup(await platform.fetchall(), markup_bps))
    if not tenant_models:
        return platform_tariffs, {}
    tenant = await connection.execute(_TENANT_SQL, (list(tenant_models), at))
    return platform_tariffs, tariffs_of(await tenant.fetchall())


def sold_at_markup(rows: Iterable[dict[str, Any]], markup_bps: int | None) -> Iterable[dict[str, Any]]:
    """Rows of prices whose selling price is the cost with the markup, if there is one."""
    if markup_bps is None:
        return rows
    return [
        {**row, "sell_nano_per_mtok": marked_up(row["cost_nano_per_mtok"], markup_bps), "markup_bps": markup_bps}
        for row in rows
    ]


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
    others: Mapping[tuple[str, str], int] | None = None,
    only_if_unpriced: bool = False,
) -> None:
    """Enter prices for every meter of a model: cache reads and writes as input, reasoning as output, but for what `others`
    say, by tier and meter.

    For a platform model (`tenant_id` None) into the standard book, else for the tenant in scope. Prices that are in force
    already are not entered again, nor with `only_if_unpriced` anything for a model that has any price.
    """
    since = effective_from or timezone.now()
    amounts = {(STANDARD, meter): input_nano_per_mtok for meter in METERS}
    amounts |= {(STANDARD, meter): output_nano_per_mtok for meter in ("output", "reasoning")}
    amounts |= others or {}
    prices: QuerySet[Price] | QuerySet[TenantPrice]
    owner: dict[str, Any]
    if tenant_id is None:
        book, _ = PriceBook.objects.using(using).get_or_create(name=STANDARD_BOOK, defaults={"id": uuid7()})
        prices, owner = Price.objects.using(using), {"book": book}
    else:
        prices, owner = TenantPrice.objects.using(using), {"tenant_id": tenant_id}
    if only_if_unpriced and prices.filter(model=model, **owner).exists():
        return
    for (tier, meter), amount in amounts.items():
        latest = prices.filter(model=model, meter=meter, tier=tier, effective_from__lte=since, **owner)
        in_force = latest.order_by("-effective_from").first()
        if in_force is None or {in_force.cost_nano_per_mtok, in_force.sell_nano_per_mtok} != {amount}:
            prices.create(
                model=model,
                meter=meter,
                tier=tier,
                effective_from=since,
                cost_nano_per_mtok=amount,
                sell_nano_per_mtok=amount,
                **owner,
            )
