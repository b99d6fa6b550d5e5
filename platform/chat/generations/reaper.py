"""Ends generations that nobody writes any more: their process died, or none ever began.

One that hadn't said a word is begun anew instead, once, by whichever process takes it. Safe to repeat and to run twice at
once: billing an orphan is idempotent by its request, and ending or restarting one is fenced by the state it was found in,
so an owner that was only slow wins or loses as a whole.
"""

import asyncio
import uuid
from typing import Any

import msgspec
import structlog

from chat import selectors
from chat.answering import Ending, Orphan, answering
from chat.bounds import QUEUED_MAX_S, REAP_BATCH
from chat.generations import leases
from chat.generations.ending import Outcome, end_generation
from chat.generations.offers import offer
from chat.parts import Parts, length, longer
from chat.realtime import texts
from chat.store import every, first, transaction
from kernel import adb
from kernel.errors import ParleyError
from kernel.redis import RedisError

log = structlog.get_logger(__name__)

_AT_ONCE = 8
INTERRUPTED = "The answer was cut off: the server that wrote it stopped."
NEVER_BEGUN = "The answer was not begun: the server that should have written it stopped."

_LATE = """
    SELECT tenant_id, id FROM chat_generation
    WHERE status = 'streaming' AND lease_until < now()
       OR status = 'queued' AND started_at < now() - make_interval(secs => %s)
    ORDER BY tenant_id, id LIMIT %s
"""

_FOUND = """
    SELECT room_id, model, request_id, requested_by_id, attempt, checkpoint, checkpoint_parts, status,
           restarted_at IS NULL AND stop_requested_at IS NULL AS may_restart
    FROM chat_generation WHERE id = %s AND status IN ('queued', 'streaming')
"""


class _Late(msgspec.Struct, frozen=True):
    tenant_id: uuid.UUID
    id: uuid.UUID


async def reap_generations() -> int:
    """End or restart what is late, at most `REAP_BATCH`; answers how many were."""
    async with adb.tenantless(alias="platform") as connection:
        late = [_Late(**row) for row in await every(connection, _LATE, (QUEUED_MAX_S, REAP_BATCH))]
    limit = asyncio.Semaphore(_AT_ONCE)

    async def reap(one: _Late) -> bool:
        async with limit:
            try:
                return await _reap(one)
            except ParleyError as error:
                log.warning("generation_not_reaped", generation_id=str(one.id), error=repr(error))
            except Exception:
                log.exception("generation_not_reaped", generation_id=str(one.id))
            return False

    return sum(await asyncio.gather(*(reap(one) for one in late)))


async def _reap(late: _Late) -> bool:
    async with transaction(late.tenant_id) as connection:
        row = await first(connection, _FOUND, (late.id,))
    if row is None:
        return False
    begun = row["status"] == "streaming"
    parts = await _longest(late, row["room_id"], selectors.checkpoint(row)) if begun else ()
    # Billed first: should this process die in between, the next pass finds the bill and goes on.
    ending = await _settle(late, row, parts) if begun and row["attempt"] else Ending(status="interrupted")
    if row["may_restart"] and not parts:
        return await _restart(late)
    ended = await end_generation(
        late.tenant_id,
        late.id,
        Outcome(
            status="interrupted",
            parts=parts,
            usage=ending.usage,
            cost_nano=ending.cost_nano,
            error_code="interrupted",
            error_message=INTERRUPTED if begun else NEVER_BEGUN,
        ),
        owner=None,
    )
    if ended:
        log.info("generation_reaped", generation_id=str(late.id), tenant_id=str(late.tenant_id), chars=length(parts))
    return ended


async def _settle(late: _Late, row: dict[str, Any], parts: Parts) -> Ending:
    return await answering().settle_orphan(
        Orphan(
            tenant_id=late.tenant_id,
            request_id=row["request_id"],
            generation_id=late.id,
            room_id=row["room_id"],
            membership_id=row["requested_by_id"],
            alias=row["model"],
            attempt=row["attempt"],
            parts=parts,
        )
    )


async def _restart(late: _Late) -> bool:
    """Queue it anew, and tell the processes that could begin it. If none does, it is ended when it is late again."""
    restarted = await leases.restart(late.tenant_id, late.id)
    if restarted:
        log.info("generation_restarted", generation_id=str(late.id), tenant_id=str(late.tenant_id))
        await offer(late.tenant_id, late.id)
    return restarted


async def _longest(late: _Late, room_id: uuid.UUID, checkpoint: Parts) -> Parts:
    try:
        held = (await texts.read_parts(late.tenant_id, room_id, [late.id])).get(late.id, ())
    except RedisError:
        held = ()
    return longer(checkpoint, held)
