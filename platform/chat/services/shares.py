"""Share a conversation by link: what it says now, read-only, for whoever has the link, until it expires or is revoked."""

import secrets
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from psycopg.types.json import Jsonb

from chat import reading, selectors, tree
from chat.access import RoomAccess, access_room
from chat.bounds import SHARE_BYTES_MAX, SHARE_DAYS_MAX, SHARE_MESSAGES_MAX, SHARES_PER_ROOM_MAX
from chat.services.policies import policy_of
from chat.shapes import MessageShape
from chat.store import Connection, every, first, transaction
from chat.titled import TITLED_BY, UNTITLED
from kernel import adb
from kernel.errors import Conflict, InvalidRequest, NotFound, PayloadTooLarge, PermissionDenied
from kernel.ids import uuid7
from tenants.keys import digest
from tenants.principals import Principal
from tenants.services.audit import record_on

TOKEN_BYTES = 16
TOKEN_CHARS = 22

_INSERT = """
    INSERT INTO chat_share (id, tenant_id, room_id, created_by_id, digest, title, messages, with_others, created_at,
                            expires_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_LIST = """
    SELECT id, room_id AS room, created_by_id AS created_by, with_others, jsonb_array_length(messages) AS messages,
           created_at, expires_at, revoked_at
    FROM chat_share WHERE room_id = %s AND (%s OR created_by_id = %s) AND (%s::uuid IS NULL OR id < %s)
    ORDER BY id DESC LIMIT %s
"""
_HELD = """
    SELECT count(*) AS held FROM chat_share WHERE room_id = %s AND revoked_at IS NULL AND expires_at > now()
"""


class SharedMessage(msgspec.Struct, frozen=True):
    """What whoever has the link reads of a message."""

    id: uuid.UUID
    kind: str
    name: str
    at: datetime
    text: str


class ShareShape(msgspec.Struct, frozen=True):
    """A share, for those in the room. `messages` counts them."""

    id: uuid.UUID
    room: uuid.UUID
    created_by: uuid.UUID
    with_others: bool
    messages: int
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class NewShare(msgspec.Struct, frozen=True):
    """A share, and the token of its link, which is shown once."""

    share: ShareShape
    token: str


class Shared(msgspec.Struct, frozen=True):
    """What a link leads to."""

    title: str
    messages: tuple[SharedMessage, ...]
    created_at: datetime
    expires_at: datetime


async def share_branch(
    *, member: Principal, room_id: uuid.UUID, through: uuid.UUID | None = None, with_others: bool = False, days: int
) -> NewShare:
    """Share the branch that the member reads, or the one `through` a message, as it is now, for so many days.

    What others wrote or asked for is left out, and so is a title that a model made of it; an owner of the room may take it in.
    Files are not shared.

    Raises `NotFound`, `PermissionDenied`, also where the tenant doesn't share, `InvalidRequest`, `Conflict`,
    `PayloadTooLarge`."""
    member.require("rooms.share")
    if not 1 <= days <= SHARE_DAYS_MAX:
        raise InvalidRequest(f"days: from 1 to {SHARE_DAYS_MAX}.", details={"param": "days"})
    token, now = secrets.token_urlsafe(TOKEN_BYTES), datetime.now(UTC)
    async with transaction(member.tenant_id) as connection:
        room = await access_room(connection, member=member, room_id=room_id, manage=True)
        if room.role == "reader":
            raise PermissionDenied("You may only read in this room.", details={"reason": "room_reader"})
        if with_others:
            room.require_owner()
        if not (await policy_of(connection)).sharing:
            raise PermissionDenied("Nothing is shared by link here.", details={"reason": "sharing_off"})
        await _check_room_left(connection, room_id)
        title = await _title(connection, room, with_others=with_others)
        messages = _shown(await _branch(connection, room, through), room, with_others=with_others)
        if not messages:
            raise Conflict("There is nothing to share.")
        content = msgspec.to_builtins(messages)
        if len(msgspec.json.encode(content)) > SHARE_BYTES_MAX:
            raise PayloadTooLarge("This conversation is too long to be shared.")
        share = ShareShape(
            id=uuid7(),
            room=room_id,
            created_by=member.membership_id,
            with_others=with_others,
            messages=len(messages),
            created_at=now,
            expires_at=now + timedelta(days=days),
            revoked_at=None,
        )
        await connection.execute(
            _INSERT.encode(),
            (
                share.id,
                member.tenant_id,
                room_id,
                member.membership_id,
                digest(token),
                title,
                Jsonb(content),
                with_others,
                now,
                share.expires_at,
            ),
        )
        await record_on(connection, action="room.shared", subject_kind="share", subject_id=share.id, actor=member)
    return NewShare(share=share, token=token)


async def list_shares(
    *, member: Principal, room_id: uuid.UUID, after: uuid.UUID | None, limit: int
) -> list[ShareShape]:
    """A room's shares, newest first: one's own, and for its owners all. Raises `NotFound`, `PermissionDenied`."""
    async with transaction(member.tenant_id) as connection:
        room = await access_room(connection, member=member, room_id=room_id)
        rows = await every(connection, _LIST, (room_id, room.is_owner, room.membership_id, after, after, limit))
    return [msgspec.convert(row, ShareShape) for row in rows]


async def revoke_share(*, member: Principal, room_id: uuid.UUID, share_id: uuid.UUID) -> None:
    """Have a link lead nowhere, at once; what it showed is deleted. Who made it may, and the room's owners.

    Raises `NotFound`, `PermissionDenied`."""
    async with transaction(member.tenant_id) as connection:
        room = await access_room(connection, member=member, room_id=room_id)
        row = await first(
            connection,
            "UPDATE chat_share SET revoked_at = coalesce(revoked_at, now()), messages = '[]', title = '' "
            "WHERE id = %s AND room_id = %s AND (%s OR created_by_id = %s) RETURNING id",
            (share_id, room_id, room.is_owner, room.membership_id),
        )
        if row is None:
            raise NotFound
        await record_on(
            connection, action="room.share_revoked", subject_kind="share", subject_id=share_id, actor=member
        )


async def read_share(token: str) -> Shared:
    """What a link leads to, for anybody. Raises `NotFound`."""
    if len(token) != TOKEN_CHARS or not token.isascii():
        raise NotFound
    async with adb.tenantless() as connection:
        row = await first(connection, "SELECT * FROM lookup.share(%s)", (digest(token),))
    if row is None:
        raise NotFound
    return Shared(
        title=row["title"],
        messages=msgspec.convert(row["messages"], tuple[SharedMessage, ...]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


async def _check_room_left(connection: Connection, room_id: uuid.UUID) -> None:
    row = await first(connection, _HELD, (room_id,))
    if row is not None and row["held"] >= SHARES_PER_ROOM_MAX:
        raise Conflict(f"A room has at most {SHARES_PER_ROOM_MAX} links. Revoke one.")


async def _branch(connection: Connection, room: RoomAccess, through: uuid.UUID | None) -> list[MessageShape]:
    if through is None:
        leaf = (await reading.branch_of(connection, room)).leaf
    elif await selectors.is_in_room(connection, room_id=room.room_id, message_id=through):
        leaf = through
    else:
        raise NotFound
    path = await tree.path_to(connection, room_id=room.room_id, leaf=leaf, limit=SHARE_MESSAGES_MAX)
    found = {message.id: message for message in await reading.messages_of(connection, room, path.ids)}
    return [found[step.id] for step in path.steps if step.id in found]


async def _title(connection: Connection, room: RoomAccess, *, with_others: bool) -> str:
    """The room's title; not one that a model made of what is left out, whose words it may say."""
    row = await first(
        connection, "SELECT title, settings->%s AS made_of FROM chat_room WHERE id = %s", (TITLED_BY, room.room_id)
    )
    if row is None:
        raise NotFound
    title: str = row["title"]
    made_of = sorted(uuid.UUID(id_) for id_ in row["made_of"] or ())
    if with_others or not made_of:
        return title
    theirs = _shown(await reading.messages_of(connection, room, made_of), room, with_others=False)
    return title if len(theirs) == len(made_of) else UNTITLED


def _shown(messages: Sequence[MessageShape], room: RoomAccess, *, with_others: bool) -> tuple[SharedMessage, ...]:
    """Without others' messages, and the answers to those. What was imported is whose private room it is in."""
    kept: set[uuid.UUID | None] = set()
    shown = []
    for message in messages:
        mine = (
            message.author.id == room.membership_id
            or (message.author.kind == "model" and message.parent in kept)
            or (message.author.kind == "imported" and room.kind == "private")
        )
        if message.deleted or not (mine or with_others):
            continue
        kept.add(message.id)
        shown.append(
            SharedMessage(
                id=message.id,
                kind=message.author.kind,
                name=message.author.name,
                at=message.created_at,
                text=message.text,
            )
        )
    return tuple(shown)
