"""Notes: what members are told beside their rooms. Durable, numbered per membership, told again until they were seen.

A note's number is the database's clock in ms, or one more than the last: it grows also after old notes are gone. Who writes
a note holds the row of the membership until it commits, so a lower number never follows a higher one.
"""

import uuid
from collections.abc import Collection, Mapping

import msgspec
from psycopg.types.json import Jsonb

from chat.access import RoomAccess
from chat.bounds import NOTES_KEPT_DAYS
from chat.note_bodies import Mentioned, StoredBody, Unread, kind_of
from chat.realtime.note_channel import tell
from chat.selectors import UNREAD
from chat.store import Connection, every, transaction
from kernel.ids import uuid7

_LOCK = "SELECT id FROM tenants_membership WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"
_FORGET = "DELETE FROM chat_note WHERE membership_id = ANY(%s) AND at < now() - make_interval(days => %s)"
_WRITE = """
    INSERT INTO chat_note (tenant_id, id, membership_id, seq, type, room_id, body, at)
    SELECT %(tenant)s, said.id, said.member,
           greatest(coalesce((SELECT max(n.seq) FROM chat_note n WHERE n.membership_id = said.member), 0) + 1,
                    (extract(epoch FROM clock_timestamp()) * 1000)::bigint),
           said.type, %(room)s, said.body, clock_timestamp()
    FROM unnest(%(ids)s::uuid[], %(members)s::uuid[], %(types)s::text[], %(bodies)s::jsonb[])
         AS said (id, member, type, body)
    ON CONFLICT DO NOTHING
    RETURNING membership_id, seq
"""

_BEHIND = f"""
    SELECT rm.membership_id, {UNREAD} AS unread
    FROM chat_roommember rm
    JOIN chat_room r ON r.tenant_id = rm.tenant_id AND r.id = rm.room_id AND r.deleted_at IS NULL
    WHERE rm.room_id = %(room)s AND rm.left_at IS NULL AND NOT rm.muted AND rm.seen_seq < r.head_seq
      AND NOT EXISTS (SELECT 1 FROM chat_note n WHERE n.tenant_id = rm.tenant_id AND n.membership_id = rm.membership_id
                      AND n.room_id = rm.room_id AND n.type = 'unread')
"""  # noqa: S608 - of constants


class Noted(msgspec.Struct, frozen=True):
    """The numbers of notes that were written, by membership: to be told once that has committed."""

    tenant_id: uuid.UUID
    numbers: Mapping[uuid.UUID, int]


async def write_notes(
    connection: Connection,
    *,
    tenant_id: uuid.UUID,
    bodies: Mapping[uuid.UUID, StoredBody],
    room_id: uuid.UUID | None = None,
    once_for: uuid.UUID | None = None,
) -> Noted:
    """Write a note to each of the memberships that `bodies` names, in the transaction of what it tells of.
    What is told under the same `once_for` again is not.

    Tell of it by `tell_notes` after the commit; should that be lost, sockets find it within half a minute."""
    members = sorted(bodies)
    await connection.execute(_LOCK.encode(), (members,))
    await connection.execute(_FORGET.encode(), (members, NOTES_KEPT_DAYS))
    rows = await every(
        connection,
        _WRITE,
        {
            "tenant": tenant_id,
            "room": room_id,
            "ids": [uuid.uuid5(once_for, str(member)) if once_for else uuid7() for member in members],
            "members": members,
            "types": [kind_of(bodies[member]) for member in members],
            "bodies": [Jsonb(msgspec.to_builtins(bodies[member])) for member in members],
        },
    )
    return Noted(tenant_id=tenant_id, numbers={row["membership_id"]: row["seq"] for row in rows})


async def note_mentions(
    connection: Connection, room: RoomAccess, *, message_id: uuid.UUID, members: Collection[uuid.UUID]
) -> Noted | None:
    """Note to these that a message of the member's names them."""
    if not members:
        return None
    body = Mentioned(room=room.room_id, message=message_id, by=room.membership_id)
    return await write_notes(
        connection, tenant_id=room.tenant_id, bodies=dict.fromkeys(members, body), room_id=room.room_id
    )


async def tell_notes(noted: Noted) -> None:
    """Have the sockets of those concerned read their notes, in whatever process."""
    if noted.numbers:
        await tell(noted.tenant_id, noted.numbers)


async def note_unread(*, tenant_id: uuid.UUID, room_id: uuid.UUID) -> None:
    """Note to each member with something unread in a room that there is: once, until they have read on. Not to who muted it."""
    async with transaction(tenant_id) as connection:
        behind = await every(connection, _BEHIND, {"room": room_id})
        bodies = {row["membership_id"]: Unread(room=room_id, unread=row["unread"]) for row in behind if row["unread"]}
        if not bodies:
            return
        noted = await write_notes(connection, tenant_id=tenant_id, bodies=bodies, room_id=room_id)
    await tell_notes(noted)


async def forget_unread(connection: Connection, *, membership_id: uuid.UUID, room_id: uuid.UUID) -> None:
    """The member has read on."""
    await connection.execute(
        "DELETE FROM chat_note WHERE membership_id = %s AND room_id = %s AND type = 'unread'", (membership_id, room_id)
    )
