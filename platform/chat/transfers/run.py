"""Which transfers wait for a worker, and a worker's turn at one."""

import asyncio
import uuid

import structlog
from django.db import connections

from chat.imports.run import import_file
from chat.transfers import leases
from chat.transfers.bounds import DUE_MAX, RENEW_S, TURN_MAX_S
from chat.transfers.exporting import export_room
from chat.transfers.leases import CantTransfer, Claimed, LeaseLost
from kernel.errors import ParleyError

log = structlog.get_logger(__name__)

_DUE = """
    SELECT tenant_id, id FROM chat_transfer
    WHERE state = 'queued' OR state = 'running' AND lease_until < now()
    ORDER BY row_number() OVER (PARTITION BY tenant_id ORDER BY turn_at), turn_at LIMIT %s
"""


def due_transfers() -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Tenant and transfer of what nobody works on: tenants first by one each, however many they have."""
    with connections["platform"].cursor() as cursor:
        cursor.execute(_DUE, [DUE_MAX])
        return [(tenant_id, transfer_id) for tenant_id, transfer_id in cursor.fetchall()]


async def take_turn(tenant_id: uuid.UUID, transfer_id: uuid.UUID) -> bool:
    """Work on a transfer for a while. False when somebody else does, or there is nothing to do."""
    claimed = await leases.claim(tenant_id, transfer_id)
    if claimed is None:
        return False
    work = asyncio.create_task(_turn(claimed))
    lease = asyncio.create_task(_keep(claimed))
    try:
        async with asyncio.timeout(TURN_MAX_S):
            await asyncio.wait({work, lease}, return_when=asyncio.FIRST_COMPLETED)
            if lease.done():
                lease.result()
            await work
    except TimeoutError:
        await leases.fail(claimed, code="too_slow", message="This took too long.")
    except LeaseLost:
        log.info("transfer_lease_lost", transfer_id=str(transfer_id))
    finally:
        for task in (work, lease):
            task.cancel()
        await asyncio.wait({work, lease})
    return True


async def _keep(claimed: Claimed) -> None:
    while True:
        await asyncio.sleep(RENEW_S)
        await leases.renew(claimed)


async def _turn(claimed: Claimed) -> None:
    if leases.is_given_up(claimed):
        await leases.fail(claimed, code="given_up", message="Several workers died of this.")
        return
    try:
        if claimed.kind == "import":
            await import_file(claimed)
        else:
            await export_room(claimed)
    except CantTransfer as error:
        await leases.fail(claimed, code=error.code, message=error.message)
    except ParleyError as error:
        log.warning("transfer_failed", transfer_id=str(claimed.id), code=error.code)
        await leases.fail(claimed, code=error.code, message=error.message)
