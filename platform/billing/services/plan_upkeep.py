"""What is due of plans and credit, across tenants: found as the platform, done as each tenant, one failing alone."""

import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

import structlog
from django.db import DatabaseError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from billing.invoices import settling
from billing.models import CreditGrant, Funds, Subscription
from billing.services import dunning, funds, subscriptions
from billing.services.low_credit import tell_if_low
from kernel.errors import ParleyError
from kernel.tenancy import tenant_scope
from tenants.notifications import Audience, notify

log = structlog.get_logger(__name__)

PLATFORM = "platform"
MAX_TENANTS = 1_000
"""At a time; the rest the next time."""
TELL_BEFORE = timedelta(days=7)
MOST_NAMED = 100
"""Of a tenant's grants that expire at about the same time."""
_NANO_PER_USD = 1_000_000_000


def look_after_subscriptions(*, now: datetime | None = None) -> int:
    """Remind, suspend, renew. How many subscriptions were looked at."""
    moment = now or timezone.now()
    due = Subscription.objects.using(PLATFORM).filter(due_at__lte=moment).order_by("due_at")

    def look() -> None:
        was_trial = Subscription.objects.filter(state="trialing").exists()
        dunning.look_after(now=moment)
        subscriptions.renew(now=moment)
        if was_trial and settling.is_overdue():
            # It became overdue within the trial, which has no days of grace to begin.
            dunning.payment_failed(reason="an invoice is overdue", now=moment)

    return _for_each(due.values_list("tenant_id", flat=True)[:MAX_TENANTS], look)


def expire_credit(*, now: datetime | None = None) -> int:
    """Let credit expire, and set limits right that had to wait for requests under way. Of how many tenants."""
    moment = now or timezone.now()
    over = CreditGrant.objects.using(PLATFORM).filter(is_open=True, expires_at__lte=moment)
    unsettled = Funds.objects.using(PLATFORM).filter(needs_check=True)
    tenants = {
        *over.order_by("expires_at").values_list("tenant_id", flat=True)[:MAX_TENANTS],
        *unsettled.values_list("tenant_id", flat=True)[:MAX_TENANTS],
    }

    def expire() -> None:
        funds.expire_grants(now=moment)
        tell_if_low()

    return _for_each(sorted(tenants), expire)


def tell_of_expiring_credit(*, now: datetime | None = None) -> int:
    """Tell once of credit beyond the plan's that is lost within a week. Of how many tenants."""
    moment = now or timezone.now()
    soon = Q(is_open=True, expires_at__gt=moment, expires_at__lte=moment + TELL_BEFORE) & ~Q(source="plan")
    grants = CreditGrant.objects.using(PLATFORM).filter(soon)

    def tell() -> None:
        funds.bring_up_to_date()
        for grant in CreditGrant.objects.filter(soon).order_by("expires_at")[:MOST_NAMED]:
            _tell_of(grant)

    return _for_each(_tenants_with(grants), tell)


def _tenants_with(grants: QuerySet[CreditGrant]) -> Iterator[uuid.UUID]:
    """Whose they are, each once, read by and by: those who were told are among them until it has expired, so none is left for
    the next time."""
    tenants = grants.order_by("tenant_id").values_list("tenant_id", flat=True).distinct()
    some = list(tenants[:MAX_TENANTS])
    while some:
        yield from some
        some = list(tenants.filter(tenant_id__gt=some[-1])[:MAX_TENANTS])


def _tell_of(grant: CreditGrant) -> None:
    amount = f"{grant.left_nano / _NANO_PER_USD:,.2f} US dollars"
    notify(
        tenant_id=grant.tenant_id,
        topic="credit.expiring",
        once_key=f"credit.expiring {grant.id}",
        audience=Audience(permission="billing.manage"),
        subject="Credit expires soon",
        text=f"{amount} that were not used yet expire at {grant.expires_at:%Y-%m-%d %H:%M} UTC.",
        data={"grant_id": str(grant.id), "left_nano": grant.left_nano},
    )


def _for_each(tenants: Iterable[uuid.UUID], work: Callable[[], None]) -> int:
    done = 0
    for tenant_id in tenants:
        try:
            with tenant_scope(tenant_id), transaction.atomic():
                work()
        except (ParleyError, DatabaseError):
            log.exception("plan_upkeep_failed", tenant=str(tenant_id))
            continue
        done += 1
    return done
