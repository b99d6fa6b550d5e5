"""After an answer: it is embedded, given its cluster, compared with what would have been served, and kept.

All of it behind the callers' backs, one answer at a time; what waits is bounded, and beyond that an answer is not kept. A
crash loses what waits."""

import asyncio
import random
import re
import time
from collections import deque
from typing import Any
from uuid import UUID

import msgspec
import structlog
from psycopg import Error

from kernel import adb
from kernel.errors import ParleyError
from kernel.ids import uuid7
from kernel.per_loop import PerLoop
from providers.cache.entries import MAX_ENTRY_BYTES, Kept, encode, pack
from providers.cache.forgotten import is_forgotten
from providers.cache.lookups import is_whole
from providers.cache.semantic import audits, storage
from providers.cache.semantic.embedding import embedder_for
from providers.cache.semantic.entries import ENTRIES, Asked, open_body, seal, seal_body
from providers.cache.semantic.lookups import ROOM, Missed, calibration_for, candidates_of, embed_question, verdict_of
from providers.cache.semantic.questions import Asking
from providers.cache.semantic.uses import uses
from providers.cache.semantic.vectors import from_reals
from providers.cache.stats import stats
from providers.pipeline.record import sold_nano
from providers.pipeline.values import Result
from providers.semantic.clusters import Known, agree, cluster_of
from providers.semantic.embedders.base import Vectors
from providers.semantic.judge import CANDIDATES
from providers.semantic.values import Calibration
from providers.types import ChatAnswer

log = structlog.get_logger(__name__)

MAX_WAITING = 1_000
MAX_ANSWER_CHARS = 8_000
"""Of an answer, what is embedded (the embedder may read less)."""
TTL_JITTER = 0.1
TRIM_EVERY = 64
"""Entries that a process writes for a tenant between two looks at the tenant's limit."""
_RANDOM = random.SystemRandom()
_REFUSAL = re.compile(
    r"(?:i'?m sorry|sorry|i apologi[sz]e|unfortunately|as an ai\b[^.]{0,60})?[,.;: ]*(?:but )?"
    r"i(?:'m| am)? (?:can(?:'t|not)|can not|unable to|not able to|won't|will not)"
    r" (?:help|assist|provide|answer|comply|fulfil|do that|share|discuss|give)",
    re.IGNORECASE,
)
"""How models begin who refuse in prose, in English."""


class Answered(msgspec.Struct, frozen=True):
    """A question and its answer, on their way into the store; without `is_kept` only to be compared."""

    missed: Missed
    kept: Kept
    encoded: bytes
    cost_nano: int
    is_kept: bool = True


def remember_alike(missed: Missed, result: Result) -> None:
    """Keep the answer of a settled job for questions like it, if it is whole and says something."""
    answered = _answered(missed, result)
    if answered is not None and not writes().add(answered):
        stats().count(missed.asking.place.tenant_id, "semantic_dropped")


def _answered(missed: Missed, result: Result) -> Answered | None:
    place, answer = missed.asking.place, result.answer
    if not place.stores or result.status != "complete" or not answer.choices:
        return None
    is_kept = is_whole(result.job.request, answer) and is_worth_keeping(answer)
    is_audit = missed.would is not None and missed.would.is_audit
    if not is_kept and not (is_audit and answer.text and answer.choices[0].finish_reason == "stop"):
        # A provider that refuses what it answered before has changed its mind, too.
        return None
    made_by = result.attempts[-1].candidate.target
    now = time.time()
    kept = Kept(
        answer=answer,
        created=now,
        expires=expires_after(place.namespace.semantic_ttl_s, now),
        provider=made_by.provider,
        model=made_by.model,
        dropped=tuple(result.job.report.dropped),
    )
    encoded = encode(kept)
    return Answered(missed, kept, encoded, sold_nano(result), is_kept) if len(encoded) <= MAX_ENTRY_BYTES else None


def is_worth_keeping(answer: ChatAnswer) -> bool:
    """Whether a whole answer is a text that doesn't refuse."""
    choice = answer.choices[0]
    return not choice.tool_calls and choice.finish_reason == "stop" and not _REFUSAL.match(choice.text.lstrip())


def expires_after(ttl_s: int, now: float) -> float:
    """The time to live or a little less from now on, so that not all expire at once."""
    return now + ttl_s * (1 - TTL_JITTER * _RANDOM.random())


class Writes:
    """One event loop's."""

    def __init__(self) -> None:
        self._waiting: deque[Answered] = deque()
        self._running: asyncio.Task[None] | None = None
        self._written: dict[UUID, int] = {}

    def add(self, answered: Answered) -> bool:
        """Have an answer kept; False if too many wait."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.append(answered)
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="semantic writes")
        return True

    async def flush(self) -> None:
        """Until everything that waits is written."""
        while self._running is not None:
            await asyncio.wait({self._running})

    async def close(self) -> None:
        """Let go of what waits."""
        self._waiting.clear()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._write(self._waiting.popleft())
        finally:
            self._running = None

    async def _write(self, answered: Answered) -> None:
        try:
            await keep(answered)
            await self._trim(answered.missed.asking)
        except (Error, ParleyError) as error:
            log.warning("semantic_entry_not_written", problem=repr(error)[:200])
        except Exception:
            log.exception("semantic_entry_not_written")

    async def _trim(self, asking: Asking) -> None:
        tenant_id = asking.place.tenant_id
        written = self._written.get(tenant_id, 0) + 1
        if written >= TRIM_EVERY:
            written = 0
            async with adb.transaction(tenant_id) as connection:
                gone = await storage.trim(connection, asking.place.namespace.semantic_max_entries)
            if gone:
                stats().count(tenant_id, "evictions", gone)
        self._written[tenant_id] = written


async def keep(answered: Answered, *, replaces: bool = True) -> bool:
    """Compare an answer with what there is, and keep it; without `replaces` only if its question has none. Whether it was kept.
    Raises psycopg's errors and `Unavailable`."""
    missed = answered.missed
    asking = missed.asking
    embedder = embedder_for(asking.embedder, asking.job.principal)
    answer = (await embedder.embed([answered.kept.answer.text[:MAX_ANSWER_CHARS]]))[0]
    question = missed.vector if missed.vector is not None else await embed_question(asking)
    calibration = await calibration_for(asking)
    if await is_forgotten(asking.place.tenant_id, asking.job.payer.subject_id, asking.job.request_id):
        return False
    found = None
    async with adb.transaction(asking.place.tenant_id) as connection:
        if missed.would is not None and missed.would.is_audit:
            found = await audits.compare(connection, asking, missed.would, answered.kept.answer.text, answer)
        entry = None
        if answered.is_kept:
            cluster, confirmed = await _placed(connection, answered, question, answer, calibration)
            version = calibration.version if calibration is not None else ""
            made = entry_of(answered, question, answer, cluster=cluster, confirmed=confirmed, calibration=version)
            entry = made if await storage.write(connection, made, replaces=replaces) else None
    if entry is not None:
        stats().count(asking.place.tenant_id, "semantic_stores")
        if asking.job.surface == ROOM:
            uses().told(asking.place.tenant_id, entry.id, asking.job.request_id)
    if found is not None:
        await audits.record(asking, found)
    return entry is not None


async def _placed(
    connection: adb.Connection, answered: Answered, question: Vectors, answer: Vectors, calibration: Calibration | None
) -> tuple[UUID, bool]:
    """The cluster of a new answer, and whether other members may have it. The nearest entry that would be served for its
    question is confirmed by it if it was another member's and the answers agree; so is the new one."""
    asking, text = answered.missed.asking, answered.kept.answer.text
    tenant_id = asking.place.tenant_id
    rows = await storage.nearest(
        storage.within(connection),
        tenant_id=tenant_id,
        scope=asking.scope,
        vector=question,
        ttl_s=asking.place.namespace.semantic_ttl_s,
        limit=CANDIDATES,
        answers=True,
    )
    near = {row["id"]: row for row in rows}
    candidates, theirs = candidates_of(asking, rows)
    verdict = verdict_of(asking, candidates, theirs, calibration)
    chosen = near[verdict.candidate.id] if verdict.candidate is not None else None
    if chosen is not None and await _agree(connection, asking, chosen, answer, text):
        if chosen["id"] in theirs:
            await storage.confirm(connection, chosen["id"])
            stats().count(tenant_id, "semantic_confirmed")
            return chosen["cluster"], True
        return chosen["cluster"], bool(chosen["confirmed"])
    known = [Known(row["cluster"], from_reals(row["answer_embedding"])) for row in rows]
    return cluster_of(answer, known) or uuid7(), False


async def _agree(connection: adb.Connection, asking: Asking, row: dict[str, Any], answer: Vectors, text: str) -> bool:
    """Whether a new answer is the same as an entry's."""
    if agree(answer, from_reals(row["answer_embedding"])):
        stored = await storage.body_of(storage.within(connection), row["id"])
        opened = open_body(asking.place.tenant_id, row["id"], stored["body"]) if stored is not None else None
        return opened is not None and audits.is_same(opened[0].answer.text, text)
    return False


def entry_of(
    answered: Answered, question: Vectors, answer: Vectors, *, cluster: UUID, confirmed: bool, calibration: str
) -> storage.NewEntry:
    asking, kept = answered.missed.asking, answered.kept
    tenant_id, entry_id = asking.place.tenant_id, uuid7()
    principal, usage = asking.job.principal, kept.answer.usage
    if principal is None:
        raise ValueError("a question without a principal is never asked")
    said = Asked(asking.question.text, asking.question.features)
    return storage.NewEntry(
        id=entry_id,
        tenant_id=tenant_id,
        scope=asking.scope,
        digest=asking.digest,
        exact_key=asking.place.key,
        alias=asking.job.alias,
        subject_id=asking.job.payer.subject_id,
        membership_id=principal.membership_id,
        confirmed=confirmed,
        shared=asking.place.namespace.sharing != "principal",
        embedder=asking.embedder,
        calibration=calibration,
        embedding=question,
        answer_embedding=answer,
        cluster=cluster,
        question=seal(said, tenant_id=tenant_id, table=ENTRIES, row_id=entry_id, column="question"),
        body=seal_body(tenant_id, entry_id, pack(answered.encoded)),
        size=len(answered.encoded),
        input_tokens=usage.prompt,
        output_tokens=usage.completion,
        cost_nano=answered.cost_nano,
        created=kept.created,
        expires=kept.expires,
    )


writes = PerLoop(Writes)
