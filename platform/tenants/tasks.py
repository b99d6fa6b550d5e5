"""The tenants' share of what beat starts."""

from celery import shared_task

from kernel.tasks import PlatformTask
from tenants.notifications.upkeep import delete_old_notices
from tenants.services.sessions import delete_expired
from tenants.webhooks.upkeep import delete_old_deliveries


@shared_task(base=PlatformTask, name="tenants.expire_sessions", ignore_result=True)
def expire_sessions() -> int:
    """Delete refresh tokens whose time is over. How many."""
    return delete_expired()


@shared_task(base=PlatformTask, name="tenants.expire_notices", ignore_result=True)
def expire_notices() -> int:
    """Delete what was told long ago. How many."""
    return delete_old_notices()


@shared_task(base=PlatformTask, name="tenants.expire_deliveries", ignore_result=True)
def expire_deliveries() -> int:
    """Delete the log of what was delivered long ago. How many."""
    return delete_old_deliveries()
