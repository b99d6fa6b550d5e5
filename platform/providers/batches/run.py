"""A worker's turn at a batch: it is looked at, worked on for a while, ended, or left to the next turn."""

import asyncio
import uuid

import structlog
from django.db import connections

from kernel.errors import NotFound
from kernel.ids import uuid7
from providers.batches import leases
from providers.batches.bounds import RENEW_S
from providers.batches.check import BadInput, check_input
from providers.batches.close import close_batch, finalize
from providers.batches.leases import Claimed, LeaseLost
from providers.batches.work import CallerGone, work_off

log = structlog.get_logger(__name__)

DUE_MAX = 100

_DUE = """
    SELECT tenant_id, id FROM providers_batch
    WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
        AND (lease_until IS NULL OR lease_until < now())
    ORDER BY row_number() OVER (PARTITION BY tenant_id ORDER BY turn_at), turn_at LIMIT %s
"""


def due_batches() -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Tenant and batch of what nobody works on, in the order in which it is their turn: tenants first by one
    batch each, however many they have."""
    with connections["platform"].cursor() as cursor:
        cursor.execute(_DUE, [DUE_MAX])
        return [(tenant_id, batch_id) for tenant_id, batch_id in cursor.fetchall()]


async def take_turn(tenant_id: uuid.UUID, batch_id: uuid.UUID) -> bool:
    """Work on a batch for a while. False when somebody else does, or there is nothing to do."""
    batch = await leases.claim(tenant_id, batch_id, owner=uuid7())
    if batch is None:
        return False
    work = asyncio.create_task(_turn(batch))
    lease = asyncio.create_task(_renew(batch))
    try:
        await asyncio.wait({work, lease}, return_when=asyncio.FIRST_COMPLETED)
        if lease.done():
            lease.result()
        await work
    except LeaseLost:
        log.warning("batch_lease_lost", batch_id=str(batch_id))
    finally:
        for task in (work, lease):
            task.cancel()
        await asyncio.wait({work, lease})
    return True


async def _renew(batch: Claimed) -> None:
    while True:
        await asyncio.sleep(RENEW_S)
        await leases.renew(batch)


async def _turn(batch: Claimed) -> None:
    all_done = batch.status == "finalizing"
    try:
        if batch.status == "validating" and not batch.expired:
            await check_input(batch)
        if batch.status == "in_progress" and not batch.expired:
            all_done = await work_off(batch)
    except BadInput as error:
        await _fail(batch, code=error.code, message=error.message, param="input_file_id")
        return
    except (FileNotFoundError, NotFound):
        await _fail(batch, code="file_not_found", message="The input file was deleted.", param="input_file_id")
        return
    except CallerGone as error:
        await _fail(batch, code="not_authenticated", message=str(error), param=None)
        return
    await leases.renew(batch)
    if batch.status == "cancelling":
        await close_batch(batch, "cancelled")
    elif all_done:
        if await finalize(batch):
            await close_batch(batch, "completed")
        else:
            await leases.release(batch)
    elif batch.expired:
        await close_batch(batch, "expired")
    else:
        await leases.release(batch)


async def _fail(batch: Claimed, *, code: str, message: str, param: str | None) -> None:
    await close_batch(batch, "failed", errors=[{"code": code, "message": message, "param": param, "line": None}])
