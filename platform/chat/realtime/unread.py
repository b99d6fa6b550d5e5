"""Something was said: who hasn't read it after a while gets a note. Whoever has the room open has read it by then."""

import asyncio
import time
import uuid
from collections import OrderedDict

import structlog

from chat.bounds import UNREAD_AFTER_S, UNREAD_ROOMS_MAX
from chat.services.notes import note_unread
from kernel.ending import end
from kernel.errors import ParleyError
from kernel.per_loop import PerLoop

log = structlog.get_logger(__name__)


class Unread:
    """The rooms of one event loop in which something was said a moment ago."""

    def __init__(self) -> None:
        self._due: OrderedDict[tuple[uuid.UUID, uuid.UUID], float] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def said(self, tenant_id: uuid.UUID, room_id: uuid.UUID) -> None:
        """Something was said in a room. In the worst of storms the unread counts of REST have to do."""
        if (tenant_id, room_id) in self._due or len(self._due) >= UNREAD_ROOMS_MAX:
            return
        self._due[tenant_id, room_id] = time.monotonic() + UNREAD_AFTER_S
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="unread notes")

    async def _run(self) -> None:
        while self._due:
            key, due = next(iter(self._due.items()))
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            del self._due[key]
            try:
                await note_unread(tenant_id=key[0], room_id=key[1])
            except ParleyError as error:
                log.warning("unread_not_noted", error=repr(error))
            except Exception:
                log.exception("unread_not_noted")

    async def close(self) -> None:
        """Note no more."""
        if self._task is not None:
            await end([self._task])


unread = PerLoop(Unread)
"""`unread()` is this event loop's."""


async def close() -> None:
    """Stop this event loop's."""
    found = unread.pop()
    if found is not None:
        await found.close()
