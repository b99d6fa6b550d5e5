"""Billing's upkeep."""

from celery import shared_task
from django.db import connections, transaction

from kernel.tasks import PlatformTask

MONTHS_AHEAD = 12


@shared_task(name="billing.make_partitions", base=PlatformTask)
def make_partitions() -> int:
    """Make the partitions of the months ahead. How many were new."""
    with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
        cursor.execute("SELECT billing_make_partitions(now()::date, %s)", [MONTHS_AHEAD])
        return int(cursor.fetchone()[0])
