"""Billing's upkeep."""

from dataclasses import asdict

from celery import shared_task
from django.db import connections, transaction

from billing.invoices import upkeep as invoice_upkeep
from billing.recovery import recover
from billing.rollups import roll_up_all
from billing.services import plan_upkeep
from billing.services.alerting import tell_alerts as tell
from billing.services.low_credit import watch_credit
from billing.services.reaping import reap_holds as reap
from billing.verification.run import verify_all
from kernel.loop import on_loop
from kernel.tasks import PlatformTask

MONTHS_AHEAD = 12
ROLL_UP_STALE_S = 10.0
"""A message that waited longer for a worker has successors."""
VERIFY_MAX_S = 6 * 3600
INVOICES_MAX_S = 3600
INVOICES_STALE_S = 50.0


@shared_task(name="billing.make_partitions", base=PlatformTask)
def make_partitions() -> int:
    """Make the partitions of the months ahead. How many were new."""
    with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
        cursor.execute("SELECT billing_make_partitions(now()::date, %s)", [MONTHS_AHEAD])
        return int(cursor.fetchone()[0])


@shared_task(name="billing.reap_holds", base=PlatformTask)
def reap_holds() -> dict[str, int]:
    """Resolve the holds whose process is gone. How many were given back, billed, and failed to be resolved. What such a
    process on this machine left in its journal is billed too."""
    reaped = reap()
    # Last: nobody's holds wait for one machine's files.
    on_loop(recover())
    return asdict(reaped)


@shared_task(name="billing.roll_up", base=PlatformTask, expires=ROLL_UP_STALE_S, ignore_result=True)
def roll_up() -> int:
    """Add new usage to the rollups, and look what that left of credit. Of how many tenants."""
    return roll_up_all(then=watch_credit)


@shared_task(
    name="billing.verify",
    base=PlatformTask,
    soft_time_limit=VERIFY_MAX_S,
    time_limit=VERIFY_MAX_S + 60,
    ignore_result=True,
)
def verify() -> dict[str, int]:
    """Compute all books again. How many tenants' are right, and how many aren't."""
    outcomes = [one.is_right for one in verify_all()]
    return {"right": outcomes.count(True), "differ": outcomes.count(False)}


@shared_task(name="billing.renew_subscriptions", base=PlatformTask, ignore_result=True)
def renew_subscriptions() -> int:
    """Do what is due of subscriptions: begin periods, end trials, remind, suspend. How many were looked at."""
    return plan_upkeep.look_after_subscriptions()


@shared_task(name="billing.expire_credit", base=PlatformTask, ignore_result=True)
def expire_credit() -> int:
    """Let credit expire whose time is over. Of how many tenants."""
    return plan_upkeep.expire_credit()


@shared_task(name="billing.tell_of_expiring_credit", base=PlatformTask, ignore_result=True)
def tell_of_expiring_credit() -> int:
    """Tell of credit that expires within days. Of how many tenants."""
    return plan_upkeep.tell_of_expiring_credit()


@shared_task(name="billing.tell_alerts", base=PlatformTask, ignore_result=True)
def tell_alerts() -> int:
    """Tell of budgets that passed a threshold, or began to refuse. How many."""
    return tell()


@shared_task(
    name="billing.make_invoices",
    base=PlatformTask,
    soft_time_limit=INVOICES_MAX_S,
    time_limit=INVOICES_MAX_S + 60,
    expires=INVOICES_STALE_S,
    ignore_result=True,
)
def make_invoices() -> dict[str, int]:
    """Do what is due of invoices: draft, issue, write and send them, and tell of what nobody paid. How many of each."""
    return asdict(invoice_upkeep.look_after_invoices())
