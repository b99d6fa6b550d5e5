"""The providers' share of what beat starts."""

from celery import shared_task

from kernel.tasks import PlatformTask
from providers.cache.upkeep import delete_expired


@shared_task(base=PlatformTask, name="providers.expire_cache", ignore_result=True)
def expire_cache() -> int:
    """Delete the cache's answers whose time is over. How many."""
    return delete_expired()
