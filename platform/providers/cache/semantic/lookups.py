"""The stage after an exact miss: the question's neighbours, a verdict on them, and the answer if it may be given.

Nobody waits longer than `LOOKUP_S` for it; a look-up that takes longer is let go, and the request is a miss. No more than
`MAX_UNDER_WAY` are under way in a process."""

import asyncio
import random
import time
from collections import OrderedDict
from typing import Any
from uuid import UUID

import msgspec
import structlog
from psycopg import Error

from kernel.errors import ParleyError
from kernel.per_loop import PerLoop
from providers.cache.acknowledge import acknowledge
from providers.cache.entries import Entry, Kept
from providers.cache.lookups import Place
from providers.cache.semantic import storage
from providers.cache.semantic.calibrations import calibration_of
from providers.cache.semantic.embedding import ROUTE, embedder_for
from providers.cache.semantic.entries import open_body, question_of_cell
from providers.cache.semantic.questions import Asking, asking_of
from providers.cache.semantic.support import support
from providers.cache.semantic.uses import uses
from providers.cache.served import Served
from providers.cache.stats import stats
from providers.pipeline.values import Job
from providers.semantic.embedders.base import Vectors
from providers.semantic.judge import CANDIDATES, judge
from providers.semantic.values import Calibration, Candidate, Verdict

log = structlog.get_logger(__name__)

LOOKUP_S = 0.1
"""The longest that a request is delayed by this stage."""
ROUTED_LOOKUP_S = 1.0
"""The same where a provider is asked for the vector."""
MAX_UNDER_WAY = 64
ROOM = "room"
"""The surface on which answers are rated."""
MAX_VECTORS = 1_024
"""Of questions that were asked of late, kept so that one asked again needn't be embedded again."""
_RANDOM = random.SystemRandom()


class Would(msgspec.Struct, frozen=True):
    """What would have been served: the entry, and what the judge saw. `is_audit`: it was held back on purpose."""

    entry_id: UUID
    candidates: tuple[Candidate, ...]
    verdict: Verdict
    is_audit: bool


class Missed(msgspec.Struct, frozen=True):
    """A question that goes to a provider, to be kept with its answer. `vector` is None if it wasn't embedded yet."""

    asking: Asking
    vector: Vectors | None = None
    would: Would | None = None


class _Found(msgspec.Struct, frozen=True):
    entry_id: UUID
    score: float
    kept: Kept
    size: int
    cost_nano: int


class _Outcome(msgspec.Struct):
    """What a look-up has come to so far."""

    vector: Vectors | None = None
    would: Would | None = None
    found: _Found | None = None


class _Loop:
    """One event loop's: what is under way, and vectors of late."""

    def __init__(self) -> None:
        self.under_way: set[asyncio.Task[None]] = set()
        self.vectors: OrderedDict[tuple[UUID, str, str], Vectors] = OrderedDict()


_loop = PerLoop(_Loop)


async def look_up_alike(job: Job, place: Place) -> tuple[Served | None, Missed | None]:
    """The answer to a question like the job's, or what is to be remembered of it once a provider has answered. Neither for a
    request that isn't eligible, or where the tier can't work."""
    if (await support()).problem:
        return None, None
    asking = asking_of(job, place)
    if isinstance(asking, str):
        stats().count(place.tenant_id, "semantic_ineligible")
        return None, None
    if not place.reads:
        return None, Missed(asking)
    began = time.perf_counter()
    outcome = await _within_time(asking)
    stats().looked_up(place.tenant_id, time.perf_counter() - began)
    if outcome is None:
        stats().count(place.tenant_id, "semantic_timeouts")
        return None, Missed(asking)
    if outcome.found is not None:
        return _serve(asking, outcome.found), None
    return None, Missed(asking, outcome.vector, outcome.would)


async def _within_time(asking: Asking) -> _Outcome | None:
    """What a look-up comes to in `LOOKUP_S`; None if that isn't enough, or too many are under way."""
    under_way = _loop().under_way
    if len(under_way) >= MAX_UNDER_WAY:
        return None
    outcome = _Outcome()
    # A task of its own: a database that hangs wouldn't let go of a waiter that is cancelled, either.
    task = asyncio.create_task(_look(asking, outcome), name="semantic look-up")
    under_way.add(task)
    task.add_done_callback(under_way.discard)
    limit_s = ROUTED_LOOKUP_S if asking.embedder.startswith(ROUTE) else LOOKUP_S
    done, _ = await asyncio.wait({task}, timeout=limit_s)
    return outcome if done else None


async def _look(asking: Asking, outcome: _Outcome) -> None:
    try:
        outcome.vector = vector = await embed_question(asking)
        await _judge(asking, vector, outcome)
    except (Error, ParleyError) as error:
        log.warning("semantic_lookup_failed", problem=repr(error)[:200])
    except Exception:
        # Whatever it was, the request goes to a provider.
        log.exception("semantic_lookup_failed")


async def embed_question(asking: Asking) -> Vectors:
    """A question's vector. Raises EmbedderMissing, EmbedderBusy, and for a route's the ParleyErrors of the pipeline."""
    vectors = _loop().vectors
    key = (asking.place.tenant_id, asking.embedder, asking.question.text)
    found = vectors.get(key)
    if found is None:
        found = (await embedder_for(asking.embedder, asking.job.principal).embed([asking.question.text]))[0]
        vectors[key] = found
        if len(vectors) > MAX_VECTORS:
            vectors.popitem(last=False)
    return found


async def calibration_for(asking: Asking) -> Calibration | None:
    """The calibration that holds for a question, if there is one. Raises psycopg's errors and `Unavailable`."""
    place = asking.place
    return await calibration_of(place.tenant_id, embedder=asking.embedder, version=place.namespace.semantic_calibration)


async def _judge(asking: Asking, vector: Vectors, outcome: _Outcome) -> None:
    place = asking.place
    calibration = await calibration_for(asking)
    if calibration is None:
        return
    rows = await storage.nearest_now(
        tenant_id=place.tenant_id,
        scope=asking.scope,
        vector=vector,
        ttl_s=place.namespace.semantic_ttl_s,
        limit=CANDIDATES,
    )
    candidates, theirs = candidates_of(asking, rows)
    verdict = verdict_of(asking, candidates, theirs, calibration)
    chosen = verdict.candidate
    if chosen is None:
        return
    if chosen.id in theirs:
        stats().count(place.tenant_id, "semantic_unconfirmed")
        return
    is_audit = _RANDOM.random() < place.namespace.semantic_audit_share
    outcome.would = Would(chosen.id, tuple(candidates), verdict, is_audit)
    if is_audit:
        return
    row = await storage.body_of(storage.alone(place.tenant_id), chosen.id)
    opened = open_body(place.tenant_id, chosen.id, row["body"]) if row is not None else None
    if opened is not None and row is not None:
        outcome.found = _Found(chosen.id, verdict.score, *opened, row["cost_nano"])


def candidates_of(asking: Asking, rows: list[dict[str, Any]]) -> tuple[list[Candidate], frozenset[UUID]]:
    """What the judge is to see of entries, and the ids of those that only their own member may have yet."""
    job, tenant_id = asking.job, asking.place.tenant_id
    membership_id = job.principal.membership_id if job.principal else None
    candidates = []
    for row in rows:
        asked = question_of_cell(tenant_id, row["id"], row["question"])
        if asked is not None:
            candidates.append(Candidate(row["id"], asked.features, row["cosine"], row["cluster"], asked.text))
    theirs = frozenset(row["id"] for row in rows if not row["confirmed"] and row["membership_id"] != membership_id)
    return candidates, theirs


def verdict_of(
    asking: Asking, candidates: list[Candidate], theirs: frozenset[UUID], calibration: Calibration | None
) -> Verdict:
    """The verdict on the candidates. If it falls on one of `theirs`, and another with the same answer may be served, on
    that; so it names one of theirs only where nothing else is accepted."""
    if calibration is None:
        return Verdict(None, 0.0, "uncalibrated")
    rate = asking.place.namespace.effective_rate
    verdict = judge(asking.question, candidates, calibration=calibration, rate=rate)
    chosen = verdict.candidate
    if chosen is None or chosen.id not in theirs:
        return verdict
    open_to_all = [one for one in candidates if one.id not in theirs or one.cluster != chosen.cluster]
    again = judge(asking.question, open_to_all, calibration=calibration, rate=rate)
    if again.candidate is not None and again.candidate.cluster == chosen.cluster:
        return again
    return verdict


def _serve(asking: Asking, found: _Found) -> Served:
    job, place, kept = asking.job, asking.place, found.kept
    stats().hit(place.tenant_id, "hits_semantic", kept.answer.usage, saved_nano=found.cost_nano)
    uses().count(place.tenant_id, found.entry_id)
    if job.surface == ROOM:
        uses().told(place.tenant_id, found.entry_id, job.request_id)
    report = job.report
    report.cache = "semantic"
    report.cache_entry = found.entry_id
    report.headers["x-parley-cache-age"] = str(max(0, int(time.time() - kept.created)))
    report.headers["x-parley-cache-score"] = f"{found.score:.3f}"
    report.headers["x-parley-cache-entry"] = str(found.entry_id)
    report.headers["x-parley-provider"] = kept.provider
    report.headers["x-parley-model"] = kept.model
    report.dropped[:] = kept.dropped
    reason = kept.answer.choices[0].finish_reason if kept.answer.choices else None
    acknowledge(job, cache="semantic", provider=kept.provider, model=kept.model, finish_reason=reason)
    # What an API repeats of the question is this one's: the body is made anew.
    return Served(job, Entry(place.key, place.tenant_id, kept, found.size), whole=False)


async def close() -> None:
    """Let nothing outlive the pools."""
    loop = _loop.pop()
    tasks = list(loop.under_way) if loop is not None else []
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
