"""The providers' share of what beat starts."""

from celery import shared_task

from kernel.tasks import PlatformTask, TenantTask
from kernel.tenancy import tenant_scope
from providers.cache.upkeep import delete_expired
from providers.requests.expiry import expire_requests as expire
from providers.services import published
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


@shared_task(base=PlatformTask, name="providers.refresh_models", ignore_result=True, expires=published.EVERY_S)
def refresh_models() -> None:
    """Have every provider asked which models it serves: the platform's here, each tenant's own by a task of that tenant."""
    for tenant_id in published.tenants_with_connections():
        with tenant_scope(tenant_id):
            refresh_own_models.apply_async(expires=published.EVERY_S)
    published.refresh_platform_models()


@shared_task(base=TenantTask, name="providers.refresh_own_models", ignore_result=True)
def refresh_own_models() -> None:
    """Ask the providers of the tenant's own connections which models they serve."""
    published.refresh_own_models()
