"""Stop an answer: a durable wish, carried out by whichever process writes it."""

import uuid

from chat import selectors
from chat.access import GenerationAccess, access_generation
from chat.generations.runs import runs
from chat.services.once import once
from chat.services.receipts import Receipt, write_receipt
from chat.shapes import GenerationShape
from chat.store import Connection, every, transaction
from kernel.errors import Conflict
from tenants.principals import Principal

STOP = "generation.stop"


async def stop_generation(*, member: Principal, generation_id: uuid.UUID, cid: str | None = None) -> GenerationShape:
    """Ask for an answer to end where it is. Nothing happens to one that has ended: stopping twice is stopping once.

    Who asked the question may, and an owner of the room. The same `cid` again asks for nothing. Raises `NotFound`,
    `PermissionDenied`, and `Conflict` when a `cid` was another command's.
    """

    async def again(connection: Connection, receipt: Receipt) -> GenerationShape:
        if receipt.id != generation_id:
            raise Conflict("This cid was another command's.")
        await _access(connection, member, generation_id)
        return (await selectors.generations(connection, [generation_id]))[generation_id]

    return await once(
        member=member, command=STOP, cid=cid, do=lambda: _stop(member, generation_id, cid=cid), again=again
    )


async def _stop(member: Principal, generation_id: uuid.UUID, *, cid: str | None) -> GenerationShape:
    async with transaction(member.tenant_id) as connection:
        generation = await _access(connection, member, generation_id)
        generation.require_may_stop()
        await connection.execute(
            "UPDATE chat_generation SET stop_requested_at = coalesce(stop_requested_at, now()) "
            "WHERE id = %s AND status IN ('queued', 'streaming')",
            (generation_id,),
        )
        if cid is not None:
            receipt = Receipt(command=STOP, id=generation_id)
            await write_receipt(
                connection,
                tenant_id=member.tenant_id,
                membership_id=member.membership_id,
                cid=cid,
                receipt=receipt,
            )
        shape = (await selectors.generations(connection, [generation_id]))[generation_id]
    await runs().stop(generation_id, owner=generation.lease_owner)
    return shape


async def _access(connection: Connection, member: Principal, generation_id: uuid.UUID) -> GenerationAccess:
    """Also in a room that was archived meanwhile, and for who may only read there now: it says nothing, and ends what costs."""
    generation = await access_generation(connection, member=member, generation_id=generation_id)
    member.require("rooms.write")
    return generation


async def stop_all(tenant_id: uuid.UUID, *, room_id: uuid.UUID) -> None:
    """Ask for all answers of a room to end."""
    async with transaction(tenant_id) as connection:
        live = await every(
            connection,
            "UPDATE chat_generation SET stop_requested_at = coalesce(stop_requested_at, now()) "
            "WHERE room_id = %s AND status IN ('queued', 'streaming') RETURNING id, lease_owner",
            (room_id,),
        )
    for row in live:
        await runs().stop(row["id"], owner=row["lease_owner"])
