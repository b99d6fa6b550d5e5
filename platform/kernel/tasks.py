"""Celery tasks that know their tenant.

A `TenantTask`'s message carries the tenant of whoever sent it in a header, and the task runs in that scope; without the
header it fails before its first statement. A `PlatformTask` is a named cross-tenant job: it has no tenant, and works as
`parley_platform`. Every task is one or the other; a test looks. The kernel's own tasks are the outbox's and upkeep.
"""

import uuid
from typing import Any

from celery import Task, shared_task

from kernel.idempotency import delete_expired
from kernel.outbox.consuming import consume
from kernel.outbox.relay import CLAIM_S, claim_due
from kernel.outbox.upkeep import delete_old
from kernel.tenancy import NoTenant, current_tenant_id, tenant_scope

HEADER = "parley_tenant"


class TenantTask(Task[Any, Any]):
    """Runs as the tenant in whose scope it was sent. Raises `NoTenant` in a worker when the message names none."""

    abstract = True

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """Send the task, with the tenant in scope in its headers."""
        options["headers"] = {**(options.get("headers") or {}), HEADER: str(current_tenant_id())}
        return super().apply_async(*args, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run as the tenant that the message names."""
        named = (self.request.headers or {}).get(HEADER) or getattr(self.request, HEADER, None)
        if not named:
            raise NoTenant(f"the message of {self.name} names no tenant")
        with tenant_scope(uuid.UUID(str(named))):
            return super().__call__(*args, **kwargs)


class PlatformTask(Task[Any, Any]):
    """A named job across tenants."""

    abstract = True


RELAY_STALE_S = 3.0
"""A message that waited longer for a worker has successors."""
RELAY_BATCHES_MAX = 5


@shared_task(base=PlatformTask, name="kernel.relay_outbox", expires=RELAY_STALE_S, ignore_result=True)
def relay_outbox() -> None:
    """Send what is due in the outbox to workers, each message with its tenant."""
    for _ in range(RELAY_BATCHES_MAX):
        claimed = claim_due()
        for one in claimed:
            with tenant_scope(one.tenant_id):
                consume_message.apply_async((str(one.message_id), one.claim, one.topic), expires=CLAIM_S)
        if not claimed:
            return


@shared_task(base=TenantTask, name="kernel.consume_message", ignore_result=True)
def consume_message(message_id: str, claim: int, topic: str) -> None:
    """Do what a message of the outbox asks for."""
    consume(message_id=uuid.UUID(message_id), claim=claim, topic=topic)


@shared_task(base=PlatformTask, name="kernel.expire_outbox", ignore_result=True)
def expire_outbox() -> int:
    """Delete messages whose time is over. How many."""
    return delete_old()


@shared_task(base=PlatformTask, name="kernel.expire_idempotency_keys", ignore_result=True)
def expire_idempotency_keys() -> int:
    """Delete the keys of requests of more than a day ago. How many."""
    return delete_expired()
