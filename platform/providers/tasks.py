"""The providers' share of what beat starts."""

import threading
import uuid
from datetime import datetime

from celery import shared_task
from celery.signals import worker_shutting_down
from django.conf import settings
from django.utils import timezone

from kernel.loop import on_loop
from kernel.tasks import PlatformTask, TenantTask
from kernel.tenancy import current_tenant_id, tenant_scope
from providers.batches.run import due_batches, take_turn
from providers.batches.upkeep import delete_expired_files
from providers.batches.work import end_turns
from providers.cache.upkeep import delete_expired
from providers.requests.expiry import expire_requests as expire
from providers.services import calibrating, offers, published
from providers.services.responses import delete_expired_responses


@shared_task(base=PlatformTask, name="providers.expire_requests", ignore_result=True)
def expire_requests() -> None:
    """Forget what was captured of requests once its time is over."""
    expire()


@shared_task(base=PlatformTask, name="providers.expire_cache", ignore_result=True)
def expire_cache() -> int:
    """Delete the cache's answers whose time is over. How many."""
    return delete_expired()


@shared_task(base=PlatformTask, name="providers.calibrate_caches", ignore_result=True)
def calibrate_caches() -> None:
    """Have each tenant's semantic cache that is on looked at."""
    for tenant_id in calibrating.tenants_with_audits():
        with tenant_scope(tenant_id):
            calibrate_cache.apply_async(expires=CALIBRATE_STALE_S)


@shared_task(base=TenantTask, name="providers.calibrate_cache", ignore_result=True)
def calibrate_cache() -> bool:
    """Calibrate the tenant's semantic cache by its own audits, if there are enough new ones. Whether it was."""
    return calibrating.calibrate_if_due()


@shared_task(base=PlatformTask, name="providers.expire_responses", ignore_result=True)
def expire_responses() -> int:
    """Delete stored responses whose time is over. How many."""
    return delete_expired_responses()


CALIBRATE_STALE_S = 3_600.0
FIND_STALE_S = 4.0
"""A message that waited longer for a worker has successors."""
TURN_STALE_S = 10.0
TURN_MAX_S = 1800.0
"""A turn ends by itself, long before: after the last line that it began, and the files of its batch."""
_turns = threading.BoundedSemaphore(settings.BATCH_TURNS_PER_WORKER)

worker_shutting_down.connect(lambda **_: end_turns(), weak=False)


@shared_task(base=PlatformTask, name="providers.find_batches", expires=FIND_STALE_S, ignore_result=True)
def find_batches() -> None:
    """Give each batch that waits, and each whose worker died, to a worker."""
    for tenant_id, batch_id in due_batches():
        with tenant_scope(tenant_id):
            run_batch.apply_async((str(batch_id),), expires=TURN_STALE_S)


@shared_task(base=TenantTask, name="providers.run_batch", ignore_result=True)
def run_batch(batch_id: str) -> None:
    """Work on a batch for a while. Other tasks keep the rest of this worker: it is asked again in a moment."""
    if not _turns.acquire(blocking=False):
        return
    try:
        on_loop(take_turn(current_tenant_id(), uuid.UUID(batch_id)), timeout_s=TURN_MAX_S)
    finally:
        _turns.release()


@shared_task(base=PlatformTask, name="providers.expire_files", ignore_result=True)
def expire_files() -> int:
    """Delete files whose time is over. How many."""
    return delete_expired_files()


@shared_task(base=PlatformTask, name="providers.refresh_models", ignore_result=True, expires=published.EVERY_S)
def refresh_models() -> None:
    """Have every provider asked which models it serves: the platform's, and each tenant's own by a task of that tenant. And
    tell operators of deployments that can't work."""
    for tenant_id in published.tenants_with_connections():
        with tenant_scope(tenant_id):
            refresh_own_models.apply_async(expires=published.EVERY_S)
    refresh_platform_models.apply_async(expires=published.EVERY_S)
    offers.tell_of_problems()


@shared_task(base=PlatformTask, name="providers.refresh_platform_models", ignore_result=True)
def refresh_platform_models(began: str = "", goes: int = 1) -> None:
    """Ask some providers of the platform's connections which models they serve; who is left, by another message."""
    began = began or timezone.now().isoformat()
    if published.refresh_platform_models(not_since=datetime.fromisoformat(began)).is_full and goes < published.MAX_GOES:
        refresh_platform_models.apply_async((began, goes + 1), expires=published.EVERY_S)


@shared_task(base=TenantTask, name="providers.refresh_own_models", ignore_result=True)
def refresh_own_models(began: str = "", goes: int = 1) -> None:
    """Ask some providers of the tenant's own connections which models they serve; who is left, by another message, so that
    nobody keeps a worker for long."""
    began = began or timezone.now().isoformat()
    if published.refresh_own_models(not_since=datetime.fromisoformat(began)).is_full and goes < published.MAX_GOES:
        refresh_own_models.apply_async((began, goes + 1), expires=published.EVERY_S)
