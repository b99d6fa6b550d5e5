"""The platform's price book: what is in it, what a list would change, and entering what somebody has looked at.

A `Proposal` names each price that would change, with the old one and the new. It is a file that a person reads and edits;
nothing enters the book by itself. A price is entered only if the book still says what the proposal was made from, and only for
a moment that is not past: what was charged stays what it was.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from django.db import connections, transaction
from django.utils import timezone

from billing.errors import PriceChanged
from billing.models import Price, PriceBook
from billing.pricing import marked_up
from billing.tariffs import STANDARD_BOOK
from billing.tiers import parse_tier
from billing.types import PRICED_METERS, STANDARD
from kernel.errors import InvalidRequest
from kernel.ids import uuid7

MAX_NANO_PER_MTOK = 10**15
"""A million dollars for a million tokens: more is a slip of the pen."""
MAX_PROPOSED = 100_000
MAX_MARKUP_BPS = 1_000_000
FORMAT = 1

Place = tuple[str, str]
"""A tier and a meter."""


class Proposed(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A price to be entered, in nano-USD for a million tokens. `old_*` are what the book says now, None for nothing;
    `effective_from` None is the moment at which it is entered."""

    model: str
    tier: str
    meter: str
    cost_nano_per_mtok: int
    sell_nano_per_mtok: int
    old_cost_nano_per_mtok: int | None = None
    old_sell_nano_per_mtok: int | None = None
    effective_from: datetime | None = None
    listed_as: str = ""


class Unlisted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model for which nothing is proposed, and why."""

    model: str
    reason: str


class Proposal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What would change in the book."""

    source: str
    made_at: datetime
    prices: tuple[Proposed, ...]
    unlisted: tuple[Unlisted, ...] = ()
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class InForce:
    """A price of the book at some moment."""

    cost_nano_per_mtok: int
    sell_nano_per_mtok: int


@dataclass(frozen=True, slots=True)
class Entered:
    """How many prices were entered, and how many had been already."""

    entered: int
    known: int


_IN_FORCE = """
    SELECT DISTINCT ON (p.model, p.tier, p.meter) p.model, p.tier, p.meter, p.cost_nano_per_mtok, p.sell_nano_per_mtok
    FROM billing_price p JOIN billing_pricebook b ON b.id = p.book_id AND b.name = %s
    WHERE p.model = ANY(%s) AND p.effective_from <= %s
    ORDER BY p.model, p.tier, p.meter, p.effective_from DESC
"""


def prices_in_force(models: Iterable[str], *, at: datetime, using: str) -> dict[str, dict[Place, InForce]]:
    """What the book says of models at a moment, by model, and by tier and meter."""
    found: dict[str, dict[Place, InForce]] = {}
    with connections[using].cursor() as cursor:
        cursor.execute(_IN_FORCE, [STANDARD_BOOK, list(models), at])
        for model, tier, meter, cost, sell in cursor.fetchall():
            found.setdefault(model, {})[tier, meter] = InForce(cost, sell)
    return found


def changes(
    model: str,
    costs: Mapping[Place, int],
    *,
    book: Mapping[Place, InForce],
    markup_bps: int | None,
    effective_from: datetime | None,
    listed_as: str,
) -> list[Proposed]:
    """What would have to be entered so that the book says these costs, from a moment on.

    The selling price is so much above the cost; without a markup as much as it is now, and the cost itself for what is new.
    A tier that is in the book and no more on the list goes back to the standard price: prices are never taken out.
    """
    wanted = dict(costs)
    for tier, meter in book.keys() - costs.keys():
        if tier != STANDARD and (STANDARD, meter) in costs:
            wanted[tier, meter] = costs[STANDARD, meter]
    proposed = []
    for (tier, meter), cost in sorted(wanted.items()):
        old = book.get((tier, meter))
        sell = marked_up(cost, markup_bps) if markup_bps is not None else _sold_as_before(cost, old)
        if old != InForce(cost, sell):
            proposed.append(
                Proposed(
                    model=model,
                    tier=tier,
                    meter=meter,
                    cost_nano_per_mtok=cost,
                    sell_nano_per_mtok=sell,
                    old_cost_nano_per_mtok=old.cost_nano_per_mtok if old else None,
                    old_sell_nano_per_mtok=old.sell_nano_per_mtok if old else None,
                    effective_from=effective_from,
                    listed_as=listed_as,
                )
            )
    return proposed


def _sold_as_before(cost: int, old: InForce | None) -> int:
    """With the margin that there is, rounded up."""
    if old is None or not old.cost_nano_per_mtok:
        return max(cost, old.sell_nano_per_mtok) if old else cost
    return -(-cost * old.sell_nano_per_mtok // old.cost_nano_per_mtok)


def enter(prices: Sequence[Proposed], *, using: str) -> Entered:
    """Enter prices that somebody has accepted: all of them or none. What the book says already is left alone.

    Raises `InvalidRequest` for a price that can't be, and `PriceChanged` if the book says by now something else than the
    proposal was made from."""
    if len(prices) > MAX_PROPOSED:
        raise InvalidRequest(f"At most {MAX_PROPOSED} prices at once.")
    now = timezone.now()
    for price in prices:
        _check(price, now)
    places = [(price.model, price.tier, price.meter, price.effective_from) for price in prices]
    if len(set(places)) < len(places):
        raise InvalidRequest("A price is named twice for the same moment.")
    with transaction.atomic(using=using):
        with connections[using].cursor() as cursor:
            # Others who enter prices wait here: what was compared still holds when it is entered.
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('parley prices', 0))")
        book, _ = PriceBook.objects.using(using).get_or_create(name=STANDARD_BOOK, defaults={"id": uuid7()})
        moments = sorted({price.effective_from or now for price in prices})
        entered = sum(
            _enter_at(moment, [price for price in prices if (price.effective_from or now) == moment], book, using)
            for moment in moments
        )
    return Entered(entered=entered, known=len(prices) - entered)


def _enter_at(moment: datetime, prices: Sequence[Proposed], book: PriceBook, using: str) -> int:
    known = prices_in_force({price.model for price in prices}, at=moment, using=using)
    fresh = [price for price in prices if not _holds(price, known.get(price.model, {}).get((price.tier, price.meter)))]
    Price.objects.using(using).bulk_create(
        Price(
            book=book,
            model=price.model,
            meter=price.meter,
            tier=price.tier,
            effective_from=moment,
            cost_nano_per_mtok=price.cost_nano_per_mtok,
            sell_nano_per_mtok=price.sell_nano_per_mtok,
        )
        for price in fresh
    )
    return len(fresh)


def _holds(price: Proposed, book: InForce | None) -> bool:
    """Whether the book says so already. Raises `PriceChanged` if it says neither that nor what it said."""
    if book == InForce(price.cost_nano_per_mtok, price.sell_nano_per_mtok):
        return True
    said = (book.cost_nano_per_mtok, book.sell_nano_per_mtok) if book else (None, None)
    if said != (price.old_cost_nano_per_mtok, price.old_sell_nano_per_mtok):
        place = {"model": price.model, "tier": price.tier, "meter": price.meter}
        raise PriceChanged(
            f"The price of {price.model!r} ({price.tier}, {price.meter}) is no longer what the proposal was made from. "
            "Make a new one.",
            details=place,
        )
    return False


def _check(price: Proposed, now: datetime) -> None:
    try:
        parse_tier(price.tier)
    except ValueError as error:
        raise InvalidRequest(f"{price.model}: {error}.") from error
    if not 1 <= len(price.model) <= 200 or not price.model.isprintable():
        raise InvalidRequest("A model has from 1 to 200 printable characters.")
    if price.meter not in PRICED_METERS:
        raise InvalidRequest(f"{price.model}: there is no meter {price.meter!r}; there are {', '.join(PRICED_METERS)}.")
    if not all(0 <= nano <= MAX_NANO_PER_MTOK for nano in (price.cost_nano_per_mtok, price.sell_nano_per_mtok)):
        raise InvalidRequest(f"{price.model}: a price is from 0 to {MAX_NANO_PER_MTOK} nano-USD for a million tokens.")
    if price.effective_from is not None and (price.effective_from.tzinfo is None or price.effective_from < now):
        raise InvalidRequest(f"{price.model}: a price is entered for now or a moment to come, with its time zone.")
