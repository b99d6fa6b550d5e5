"""A period ends: a draft is made for what it comes to, in the transaction that ends it, with the books locked. So what credit
was drawn until then is known exactly."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet, Sum
from django.utils import timezone

from billing.models import CreditGrant, Funds, Invoice, InvoiceLine, InvoiceSchedule, PlanCharge, Subscription
from billing.periods import following_boundary, next_boundary, zone_of
from billing.posting import lock_books
from billing.services import funds
from kernel.tenancy import current_tenant_id
from tenants.models import Tenant

FIRST_OF_MONTH = 1
MONTHS_AT_ONCE = 24
"""A tenant that nobody looked after for longer catches up over several runs."""

_USED = """
    SELECT EXISTS (
        SELECT FROM billing_usagerecord
        WHERE sell_nano > 0 AND at < %(until)s AND (tx >= %(since_tx)s::text::xid8 OR at >= %(since)s)
    )
"""


def chain() -> QuerySet[Invoice]:
    """The tenant's invoices that follow one another: each record of usage is on exactly one of these."""
    return Invoice.objects.filter(kind="invoice", replaced=False)


def last_final() -> Invoice | None:
    """The last of them that isn't a draft any more."""
    return chain().exclude(state="draft").order_by("-until").first()


def close_period(*, until: datetime) -> Invoice | None:
    """Make the draft for what was used since the last period's end until `until`; None where that is nothing new. Locks the
    books."""
    lock_books()
    tenant = Tenant.objects.get(id=current_tenant_id())
    last = chain().order_by("-until").first()
    since = last.until if last else tenant.created_at
    if until <= since:
        return None
    if Funds.objects.exists():
        funds.bring_up_to_date()
    drawn = CreditGrant.objects.aggregate(drawn=Sum("allocated_nano"))["drawn"] or 0
    return Invoice.objects.create(
        tenant_id=tenant.id,
        since=since,
        until=until,
        time_zone=zone_of(tenant.timezone).key,
        credit_mark_nano=drawn,
        finalize_at=until + timedelta(hours=settings.INVOICE_REVIEW_HOURS),
    )


def close_months(*, now: datetime | None = None) -> int:
    """Close the calendar months that are over, of a tenant without a subscription: with one, its periods are closed when
    they end. How many were."""
    moment = now or timezone.now()
    lock_books()
    tenant = Tenant.objects.get(id=current_tenant_id())
    zone = zone_of(tenant.timezone)
    schedule = InvoiceSchedule.objects.filter(name="months").first() or InvoiceSchedule(
        tenant_id=tenant.id, next_at=next_boundary(tenant.created_at, anchor_day=FIRST_OF_MONTH, zone=zone)
    )
    closed = 0
    if Subscription.objects.exclude(state="cancelled").exists():
        schedule.next_at = next_boundary(moment, anchor_day=FIRST_OF_MONTH, zone=zone)
    for _ in range(MONTHS_AT_ONCE):
        if schedule.next_at > moment:
            break
        if _has_something(schedule.next_at):
            closed += close_period(until=schedule.next_at) is not None
        schedule.next_at = following_boundary(schedule.next_at, anchor_day=FIRST_OF_MONTH, zone=zone)
    schedule.save()
    return closed


def _has_something(until: datetime) -> bool:
    """Whether anything may have to be charged that no invoice has."""
    last = last_final()
    with connection.cursor() as cursor:
        since, since_tx = (last.until, last.until_tx) if last else (until, 0)
        cursor.execute(_USED, {"until": until, "since": since, "since_tx": since_tx})
        return bool(cursor.fetchone()[0]) or uncharged(until).exists()


def uncharged(until: datetime) -> QuerySet[PlanCharge]:
    """Fees of plans, due by `until`, that no invoice has."""
    listed = InvoiceLine.objects.filter(charge_id=OuterRef("id"), invoice__replaced=False)
    return PlanCharge.objects.filter(~Exists(listed.exclude(invoice__state="draft")), since__lte=until)
