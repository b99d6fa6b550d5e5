"""Notes on their way to sockets.

Redis knows the number of each member's last note: a socket that holds it needs nothing, so a crowd that comes back asks
PostgreSQL nothing. Who writes a note publishes whom it concerns; each process reads, in one query per tenant, what its sockets
lack. What was missed on the way, the hub's next look finds.
"""

import asyncio
import contextlib
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import cast

import structlog

from chat.bounds import NOTES_AT_ONCE_MAX, NOTES_TELL_S
from chat.realtime.frames import Note
from chat.realtime.note_channel import channel, last_key, remember
from chat.realtime.socket import Socket
from chat.realtime.subscriptions import subscriptions
from chat.store import every, transaction
from kernel.errors import ParleyError
from kernel.ids import parse_uuid
from kernel.redis import RedisError, async_redis

log = structlog.get_logger(__name__)

_AFTER = """
    SELECT n.membership_id, n.seq, n.type, n.body, n.at
    FROM unnest(%s::uuid[], %s::bigint[]) AS held (member, seq)
    CROSS JOIN LATERAL (
        SELECT membership_id, seq, type, body, at FROM chat_note
        WHERE membership_id = held.member AND seq > held.seq ORDER BY seq DESC LIMIT %s
    ) n
    ORDER BY n.seq
"""


class _Tenant:
    """What one hub hears of a tenant's notes."""

    def __init__(self, notes: "NoteFeeds", tenant_id: uuid.UUID) -> None:
        self._notes = notes
        self._tenant_id = tenant_id

    def on_payload(self, payload: bytes) -> None:
        """Notes were written to these members."""
        members = {parse_uuid(name) for name in payload.decode("ascii", "replace").split(",")}
        self._notes.look(socket for socket in self._notes.of(self._tenant_id) if socket.membership_id in members)

    def on_subscribed(self) -> None:
        """Some may have been missed."""
        self._notes.look(self._notes.of(self._tenant_id))


class NoteFeeds:
    """The notes of one hub's sockets."""

    def __init__(self, sockets: set[Socket]) -> None:
        self._sockets = sockets
        self._heard: dict[uuid.UUID, _Tenant] = {}
        self._due: set[Socket] = set()
        self._wake = asyncio.Event()

    def of(self, tenant_id: uuid.UUID) -> list[Socket]:
        """The sockets of a tenant's members that hear notes."""
        return [socket for socket in self._sockets if _tenant_of(socket) == tenant_id]

    def look(self, sockets: Iterable[Socket]) -> None:
        """See soon whether these lack notes."""
        self._due.update(sockets)
        if self._due:
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            # A crowd that comes at once is looked at together.
            await asyncio.sleep(NOTES_TELL_S)
            self._wake.clear()
            due, self._due = self._due, set()
            by_tenant: defaultdict[uuid.UUID, list[Socket]] = defaultdict(list)
            for socket in due:
                if (tenant_id := _tenant_of(socket)) is not None:
                    by_tenant[tenant_id].append(socket)
            for tenant_id, sockets in by_tenant.items():
                try:
                    await self._listen(tenant_id)
                    await self._tell(tenant_id, sockets)
                except (ParleyError, RedisError) as error:
                    log.warning("notes_not_read", error=repr(error))
                except Exception:
                    log.exception("notes_not_read")

    async def check(self) -> None:
        """Look at PostgreSQL for all, and let go of tenants that have gone."""
        present = {tenant_id for socket in self._sockets if (tenant_id := _tenant_of(socket)) is not None}
        for tenant_id in list(self._heard.keys() - present):
            await subscriptions().unsubscribe(channel(tenant_id), self._heard.pop(tenant_id))
        for tenant_id in present:
            try:
                await self._read(tenant_id, self.of(tenant_id))
            except (ParleyError, RedisError) as error:
                log.warning("notes_not_read", error=repr(error))

    async def close(self) -> None:
        """Hear nothing more."""
        while self._heard:
            tenant_id, heard = self._heard.popitem()
            await subscriptions().unsubscribe(channel(tenant_id), heard)

    async def _listen(self, tenant_id: uuid.UUID) -> None:
        if tenant_id not in self._heard:
            self._heard[tenant_id] = _Tenant(self, tenant_id)
            await subscriptions().subscribe(channel(tenant_id), self._heard[tenant_id])

    async def _tell(self, tenant_id: uuid.UUID, sockets: Sequence[Socket]) -> None:
        members = list({socket.membership_id for socket in sockets})
        try:
            last = cast(
                "list[bytes | None]", await async_redis().hmget(last_key(tenant_id), [str(one) for one in members])
            )
        except RedisError:
            last = [None] * len(members)
        known = {member: int(number) for member, number in zip(members, last, strict=True) if number is not None}
        lacking = [one for one in sockets if one.membership_id not in known or one.noted_seq < known[one.membership_id]]
        if lacking:
            await self._read(tenant_id, lacking)

    async def _read(self, tenant_id: uuid.UUID, sockets: Sequence[Socket]) -> None:
        held: dict[uuid.UUID, int] = {}
        for socket in sockets:
            held[socket.membership_id] = min(socket.noted_seq, held.get(socket.membership_id, socket.noted_seq))
        async with transaction(tenant_id) as connection:
            rows = await every(connection, _AFTER, (list(held), list(held.values()), NOTES_AT_ONCE_MAX))
        for row in rows:
            note = Note(seq=row["seq"], type=row["type"], at=row["at"], body=row["body"])
            for socket in sockets:
                if _tenant_of(socket) == tenant_id and socket.membership_id == row["membership_id"]:
                    socket.noted(note)
        numbers = held | {row["membership_id"]: row["seq"] for row in rows}
        with contextlib.suppress(RedisError):
            await remember(tenant_id, numbers)


def _tenant_of(socket: Socket) -> uuid.UUID | None:
    """The tenant whose notes a socket hears; None for one that hears none."""
    if socket.session is None or socket.closing or not socket.hears_notes:
        return None
    return socket.session.principal.tenant_id
