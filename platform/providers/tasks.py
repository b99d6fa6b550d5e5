"""The providers' share of what beat starts."""

from celery import shared_task

from kernel.tasks import PlatformTask
from providers.cache.upkeep import delete_expired
from providers.requests.expiry import expire_requests as expire
from providers.services.responses import delete_expired_responses


@shared_task(base=PlatformTask, name="providers.expire_requests", ignore_result=True)
def expire_requests() -> None:
    """Forget what was captured of requests once its time is over."""
    expire()


@shared_task(base=PlatformTask, name="providers.expire_cache", ignore_result=True)
def expire_cache() -> int:
    """Delete the cache's answers whose time is over. How many."""
    return delete_expired()


@shared_task(base=PlatformTask, name="providers.expire_responses", ignore_result=True)
def expire_responses() -> int:
    """Delete stored responses whose time is over. How many."""
    return delete_expired_responses()
