"""Warm-up: what a tenant captured of past requests becomes entries, as if it had just been answered.

Each is looked at with the rights that its caller has now. One whose time to live would be over already, whose caller or
model is gone, that isn't eligible, or whose question has an answer already, is passed over."""

import time
import uuid
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace
from psycopg import Error

from kernel import adb
from kernel.crypto import DecryptionFailed
from kernel.errors import ParleyError, Unavailable
from providers.cache.entries import MAX_ENTRY_BYTES, Kept, encode
from providers.cache.lookups import is_whole, place_of
from providers.cache.semantic.lookups import Missed
from providers.cache.semantic.questions import asking_of
from providers.cache.semantic.writes import Answered, expires_after, is_worth_keeping, keep
from providers.guardrails.store import rules_of
from providers.pipeline.accept import accept
from providers.pipeline.hold import cap_of
from providers.pipeline.values import Job
from providers.requests.record import read_content
from providers.types import ChatAnswer, ChatRequest
from tenants.acting import acting_principal
from tenants.epochs import Subject
from tenants.principals import Principal

log = structlog.get_logger(__name__)

PAGE = 50


class Content(msgspec.Struct, frozen=True):
    """What was captured of a completion; of anything else, this can't be read."""

    request: ChatRequest
    answer: ChatAnswer
    stores: bool = True


_SQL = """
    SELECT l.id, l.membership_id, l.api_key_id, l.surface, l.content, extract(epoch FROM l.at)::float8 AS at, u.provider, u.model,
           coalesce(u.sell_nano, 0) AS sell_nano
    FROM providers_requestlog l
    LEFT JOIN LATERAL (
        SELECT provider, model, sell_nano FROM billing_usagerecord
        WHERE tenant_id = l.tenant_id AND request_id = l.id ORDER BY attempt DESC LIMIT 1
    ) u ON true
    WHERE l.id < %s AND l.content IS NOT NULL AND l.status = 200 AND l.at > to_timestamp(%s) ORDER BY l.id DESC LIMIT %s
"""
_LAST = uuid.UUID(int=2**128 - 1)


async def warm_up(tenant_id: uuid.UUID, *, limit: int, ttl_s: int) -> int:
    """Make entries of the newest captured requests, `limit` at most, of those answered in the last `ttl_s`. How many."""
    warmed, before = 0, _LAST
    while warmed < limit:
        async with adb.transaction(tenant_id) as connection:
            cursor = await connection.execute(_SQL, (before, time.time() - ttl_s, PAGE))
            rows = await cursor.fetchall()
        for row in rows:
            if warmed < limit:
                warmed += await _warmed(tenant_id, row)
        if len(rows) < PAGE:
            break
        before = rows[-1]["id"]
    return warmed


async def _warmed(tenant_id: uuid.UUID, row: dict[str, Any]) -> bool:
    try:
        said = read_content(row["content"], tenant_id=tenant_id, request_id=row["id"])
        content = msgspec.json.decode(said, type=Content)
        if not content.stores:
            return False
        principal = await acting_principal(Subject(tenant_id, row["membership_id"], row["api_key_id"]))
        return await _kept(await _job(principal, content.request, row), content, row)
    except (DecryptionFailed, msgspec.DecodeError, ParleyError, Error) as error:
        if isinstance(error, Unavailable | Error):
            raise
        log.info("semantic_request_not_warmed", request_id=str(row["id"]), why=repr(error)[:200])
        return False


async def _job(principal: Principal, request: ChatRequest, row: dict[str, Any]) -> Job:
    """The job as it was accepted. What was captured says how long the answer might be, also where the caller didn't."""
    unsaid = replace(request, max_output_tokens=None)
    job = await accept(principal=principal, request=unsaid, request_id=row["id"], surface=row["surface"])
    return job if cap_of(job) == request.max_output_tokens else replace(job, request=request)


async def _kept(job: Job, content: Content, row: dict[str, Any]) -> bool:
    rules = await rules_of(job.payer.tenant_id)
    place = await place_of(job, masks=(rules.mask_secrets, rules.mask_cards))
    if place is None or not is_whole(job.request, content.answer) or not is_worth_keeping(content.answer):
        return False
    asking = asking_of(job, place)
    if isinstance(asking, str):
        return False
    kept = Kept(
        answer=content.answer,
        created=row["at"],
        expires=expires_after(place.namespace.semantic_ttl_s, row["at"]),
        provider=row["provider"] or "",
        model=row["model"] or content.answer.model,
    )
    encoded = encode(kept)
    if kept.expires <= time.time() or len(encoded) > MAX_ENTRY_BYTES:
        return False
    # The newest come first; and a question has an answer already, or had one that was called wrong.
    return await keep(Answered(Missed(asking), kept, encoded, int(row["sell_nano"])), replaces=False)
