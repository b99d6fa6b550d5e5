"""Prices in the book, for tests that charge by them."""

from datetime import datetime

from django.db import transaction

from billing.tariffs import STANDARD_BOOK, set_prices
from billing.tiers import tariffs_of
from billing.types import Tariff
from tests.isolation.roles import administrator

_NEWEST = """
    SELECT DISTINCT ON (p.meter, p.tier) p.id, p.model, p.meter, p.tier, p.cost_nano_per_mtok, p.sell_nano_per_mtok
    FROM billing_price p JOIN billing_pricebook b ON b.id = p.book_id WHERE b.name = %s AND p.model = %s
    ORDER BY p.meter, p.tier, p.effective_from DESC
"""


def tariff_in_book(
    model: str, *, input_nano_per_mtok: int, output_nano_per_mtok: int, since: datetime | None = None
) -> Tariff:
    """The newest tariff of a platform's model, with these prices, entered if they aren't in the book yet."""
    with transaction.atomic(using="platform"):
        set_prices(
            model=model,
            input_nano_per_mtok=input_nano_per_mtok,
            output_nano_per_mtok=output_nano_per_mtok,
            tenant_id=None,
            using="platform",
            effective_from=since,
        )
    with administrator() as connection:
        cursor = connection.execute(_NEWEST, (STANDARD_BOOK, model))
        names = [column.name for column in cursor.description or ()]
        return tariffs_of(dict(zip(names, row, strict=True)) for row in cursor)[model]
