"""What a tenant has in advance. Every change is made with its books locked: what was used until then is drawn from the
credit there was by then, and the limit that requests are held against follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from billing.allocation import Pot, draw
from billing.models import BudgetBalance, CreditGrant, Funds
from billing.plan_models import MAX_NANO
from billing.posting import Transfer, lock_books, post
from kernel.errors import InvalidRequest
from kernel.ids import uuid7
from kernel.tenancy import current_tenant_id
from tenants.epochs import announce_limits

NAME = "Credit"
EVER = date(1970, 1, 1)
LOW_PART = 5
"""Credit is low when less is left than this part of what there was when some was last added."""
PRIORITIES = {"plan": 0, "gift": 10, "refund": 10, "topup": 20}
"""What expires with the period is drawn first, what was paid for last."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a tenant's credit stands, in nano-USD: what can still be used (less than nothing where more was used than there
    is credit for), what is held for requests under way, and what is owed because no credit covered it."""

    left_nano: int
    held_nano: int
    uncovered_nano: int
    is_limit: bool


def open_funds() -> Funds:
    """The tenant's funds, made at first use, with its books locked. Without a plan they limit nothing."""
    lock_books()
    funds = Funds.objects.select_related("budget").first()
    if funds is None:
        tenant_id = current_tenant_id()
        with connection.cursor() as cursor:
            cursor.execute("SELECT lookup.funds_open(%s, %s, %s)", [tenant_id, uuid7(), NAME])
            (budget_id,) = cursor.fetchone()
        funds = Funds.objects.create(tenant_id=tenant_id, budget_id=budget_id)
        announce_limits(tenant_id)
    return funds


def limit_by_credit(*, is_hard: bool) -> None:
    """Say whether requests are refused that no credit covers (`is_hard`), or billed afterwards."""
    funds = open_funds()
    _allocate(funds)
    _follow(funds, mode="hard" if is_hard else "soft")


def standing() -> Standing | None:
    """How the credit stands now; None for a tenant that never had any."""
    funds = Funds.objects.select_related("budget").first()
    if funds is None:
        return None
    settled, held = _balance(funds)
    return Standing(
        left_nano=funds.budget.limit_amount - settled,
        held_nano=held,
        uncovered_nano=funds.uncovered_nano,
        is_limit=funds.budget.mode == "hard",
    )


def add_grant(
    *,
    amount_nano: int,
    source: str,
    key: str,
    expires_at: datetime | None = None,
    note: str = "",
    is_paid: bool = False,
) -> tuple[CreditGrant, bool]:
    """Give credit, once for each `key`: the grant, and whether it is new. `is_paid`: the payment's own entry is in the
    books. Raises `InvalidRequest` for an amount that can't be."""
    if not 0 < amount_nano <= MAX_NANO:
        raise InvalidRequest(f"An amount from 1 to {MAX_NANO} nano-dollars is needed.", details={"param": "amount"})
    funds = open_funds()
    known = CreditGrant.objects.filter(key=key).first()
    if known is not None:
        return known, False
    _allocate(funds)
    grant = CreditGrant.objects.create(
        tenant_id=current_tenant_id(),
        key=key,
        source=source,
        amount_nano=amount_nano,
        priority=PRIORITIES[source],
        expires_at=expires_at,
        note=note,
    )
    if not is_paid:
        post(Transfer(grant.id, "grant", "credit_given", "customer", amount_nano))
    _follow(funds)
    settled, _ = _balance(funds)
    funds.low_at_nano = max(0, funds.budget.limit_amount - settled) // LOW_PART
    funds.low_told_at = None
    funds.save(update_fields=["low_at_nano", "low_told_at"])
    return grant, True


def bring_up_to_date() -> Funds:
    """The tenant's funds, with what was used until now drawn, or owed."""
    funds = open_funds()
    _allocate(funds)
    _follow(funds)
    return funds


def _allocate(funds: Funds) -> None:
    """Draw what was used since the last time from the open grants. What none covers is owed from then on: later credit is
    for what is used later."""
    settled, _ = _balance(funds)
    totals = CreditGrant.objects.aggregate(drawn=Sum("allocated_nano"))
    due = settled - (totals["drawn"] or 0) - funds.uncovered_nano
    if due <= 0:
        return
    grants = {grant.id: grant for grant in _open_grants()}
    pots = [Pot(one.id, one.priority, one.expires_at, one.left_nano) for one in grants.values()]
    drawn, rest = draw(due, pots)
    for grant_id, taken in drawn.items():
        grant = grants[grant_id]
        grant.allocated_nano += taken
        grant.is_open = grant.left_nano > 0
    CreditGrant.objects.bulk_update([grants[one] for one in drawn], ["allocated_nano", "is_open"])
    if rest:
        funds.uncovered_nano += rest
        funds.save(update_fields=["uncovered_nano"])


def expire_grants(*, now: datetime | None = None) -> int:
    """Let the credit whose time is over expire: what was not used of it, and is not held for requests under way. How many
    nano-dollars."""
    moment = now or timezone.now()
    funds = bring_up_to_date()
    settled, held = _balance(funds)
    free = funds.budget.limit_amount - settled - held
    lost_in_all = 0
    for grant in _open_grants():
        if grant.expires_at is None or grant.expires_at > moment:
            continue
        lost = max(0, min(grant.left_nano, free - lost_in_all))
        if lost:
            lost_in_all += lost
            post(Transfer(grant.id, "expiry", "customer", "breakage", lost, line=grant.expiries))
            grant.expired_nano += lost
            grant.expiries += 1
        grant.is_open = grant.left_nano > 0
        grant.save(update_fields=["expired_nano", "expiries", "is_open"])
    _follow(funds)
    return lost_in_all


def take_back(grant: CreditGrant, *, amount_nano: int) -> int:
    """Take back credit whose payment was returned: what is left of it, and what was drawn is owed again. How much was
    drawn. The entry is the payment's."""
    funds = open_funds()
    _allocate(funds)
    grant.refresh_from_db()
    amount = min(amount_nano, grant.left_nano + grant.allocated_nano)
    owed = max(0, amount - grant.left_nano)
    grant.allocated_nano -= owed
    grant.withdrawn_nano += amount
    grant.is_open = grant.left_nano > 0
    grant.save(update_fields=["allocated_nano", "withdrawn_nano", "is_open"])
    funds.uncovered_nano += owed
    funds.save(update_fields=["uncovered_nano"])
    _follow(funds)
    return owed


def give_again(grant: CreditGrant, *, amount_nano: int, owed_nano: int) -> None:
    """Undo `take_back` of `amount_nano`, of which `owed_nano` had been drawn."""
    funds = open_funds()
    _allocate(funds)
    grant.refresh_from_db()
    amount = min(amount_nano, grant.withdrawn_nano)
    covered = min(owed_nano, amount, funds.uncovered_nano)
    grant.withdrawn_nano -= amount
    grant.allocated_nano += covered
    grant.is_open = grant.left_nano > 0
    grant.save(update_fields=["allocated_nano", "withdrawn_nano", "is_open"])
    funds.uncovered_nano -= covered
    funds.save(update_fields=["uncovered_nano"])
    _follow(funds)


def _follow(funds: Funds, *, mode: str | None = None) -> None:
    """Set the limit to all credit there was, less what expired or was taken back, and what is owed beside it: what is left is
    the limit less what was used. It never falls below what is used and held. Only the database's own function may set it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM lookup.funds_limit(%s, %s)", [funds.tenant_id, mode])
        limit_nano, is_short = cursor.fetchone()
    funds.budget.limit_amount, funds.budget.mode = limit_nano, mode or funds.budget.mode
    if mode is not None:
        announce_limits(funds.tenant_id)
    if funds.needs_check != is_short:
        funds.needs_check = is_short
        funds.save(update_fields=["needs_check"])


def _open_grants() -> Sequence[CreditGrant]:
    return sorted(
        CreditGrant.objects.filter(is_open=True),
        key=lambda one: Pot(one.id, one.priority, one.expires_at, one.left_nano).rank,
    )


def _balance(funds: Funds) -> tuple[int, int]:
    """What is settled and what is held of the funds."""
    row = BudgetBalance.objects.filter(budget_id=funds.budget_id, period_start=EVER).first()
    return (row.settled, row.held) if row else (0, 0)
