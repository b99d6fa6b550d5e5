"""Chat's share of what beat starts."""

import threading
import uuid

import structlog
from celery import shared_task

from chat.files.upkeep import delete_expired_attachments
from chat.generations.reaper import reap_generations as reap
from chat.services.retention import expire_messages as expire_messages_of
from chat.services.retention import tenants_with_something_to_expire
from chat.transfers.bounds import TURN_MAX_S, TURNS_PER_WORKER
from chat.transfers.run import due_transfers, take_turn
from chat.transfers.upkeep import delete_expired_transfers
from kernel.loop import on_loop
from kernel.tasks import PlatformTask, TenantTask
from kernel.tenancy import current_tenant_id, tenant_scope

log = structlog.get_logger(__name__)

EXPIRE_S = 120.0
"""For one tenant's messages, of one run."""
STALE_S = 4.0
"""A message that waited longer for a worker has successors."""


@shared_task(base=PlatformTask, name="chat.reap_generations", expires=STALE_S, ignore_result=True)
def reap_generations() -> None:
    """End generations whose process died."""
    on_loop(reap())


@shared_task(base=PlatformTask, name="chat.expire_attachments", ignore_result=True)
def expire_attachments() -> int:
    """Delete files whose time is over, and exports and imports. How many."""
    return delete_expired_attachments() + delete_expired_transfers()


@shared_task(base=PlatformTask, name="chat.expire_messages", ignore_result=True)
def expire_messages() -> int:
    """Delete messages whose time is over, and what deleted rooms held, of each tenant as itself. How many messages."""
    return sum(map(_expired, tenants_with_something_to_expire()))


def _expired(tenant_id: uuid.UUID) -> int:
    """One tenant's, who may keep no other waiting: what fails, or takes too long, goes on with the next run."""
    try:
        return on_loop(expire_messages_of(tenant_id), timeout_s=EXPIRE_S)
    except Exception:
        log.exception("messages_not_expired", tenant_id=str(tenant_id))
        return 0


FIND_STALE_S = 4.0
TURN_STALE_S = 10.0
_turns = threading.BoundedSemaphore(TURNS_PER_WORKER)


@shared_task(base=PlatformTask, name="chat.find_transfers", expires=FIND_STALE_S, ignore_result=True)
def find_transfers() -> None:
    """Give each export and import that waits, and each whose worker died, to a worker."""
    for tenant_id, transfer_id in due_transfers():
        with tenant_scope(tenant_id):
            run_transfer.apply_async((str(transfer_id),), expires=TURN_STALE_S)


@shared_task(base=TenantTask, name="chat.run_transfer", ignore_result=True)
def run_transfer(transfer_id: str) -> None:
    """Work on an export or import for a while. Other tasks keep the rest of this worker: it is asked again in a moment."""
    if not _turns.acquire(blocking=False):
        return
    try:
        on_loop(take_turn(current_tenant_id(), uuid.UUID(transfer_id)), timeout_s=TURN_MAX_S + 30)
    finally:
        _turns.release()
