"""Stop an answer: a durable wish, carried out by whichever process writes it."""

import uuid

from chat import selectors
from chat.access import access_generation
from chat.generations.runs import runs
from chat.shapes import GenerationShape
from chat.store import every, transaction
from tenants.principals import Principal


async def stop_generation(*, member: Principal, generation_id: uuid.UUID) -> GenerationShape:
    """Ask for an answer to end where it is. Nothing happens to one that has ended: stopping twice is stopping once.

    Who asked the question may, and an owner of the room. Raises `NotFound`, `PermissionDenied`.
    """
    async with transaction(member.tenant_id) as connection:
        generation = await access_generation(connection, member=member, generation_id=generation_id, write=True)
        generation.require_may_stop()
        await connection.execute(
            "UPDATE chat_generation SET stop_requested_at = coalesce(stop_requested_at, now()) "
            "WHERE id = %s AND status IN ('queued', 'streaming')",
            (generation_id,),
        )
        shape = (await selectors.generations(connection, [generation_id]))[generation_id]
    await runs().stop(generation_id, owner=generation.lease_owner)
    return shape


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
