"""Look after a tenant's semantic cache: what it holds, what it did, what audits found, and what is to be forgotten."""

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.db.models import Count, Q, Sum
from django.utils import timezone

from kernel.errors import InvalidRequest, NotFound, Unavailable
from kernel.loop import on_loop
from kernel.redis import RedisError, sync_redis
from kernel.tenancy import current_tenant_id
from providers.cache.models import CacheNamespace
from providers.cache.semantic import warming
from providers.cache.semantic.audits import WINDOW
from providers.cache.semantic.calibrations import shipped_for
from providers.cache.semantic.detector import interval
from providers.cache.semantic.embedding import check_name
from providers.cache.semantic.entries import question_of_cell
from providers.cache.semantic.models import SemanticAudit, SemanticCalibration, SemanticEntry
from providers.cache.semantic.support import support
from providers.cache.semantic.uses import served_key
from providers.cache.stats import stats_key
from providers.semantic.errors import EmbedderMissing

PAGE = 500
MAX_WARMED = 1_000
WARM_S = 50.0
MAX_PREFIX_CHARS = 200
RESTARTING = frozenset({"semantic", "semantic_rate", "semantic_embedder"})
"""Settings after whose change audits of before say nothing any more."""


@dataclass(frozen=True, slots=True)
class Audits:
    """What audits found since they last had a consequence, of the newest `WINDOW`: the rate of wrong answers, and between
    which it certainly is (95 %, Clopper–Pearson)."""

    count: int
    wrong: int
    rate: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class State:
    """The tier as it is now. `problem` says why it can't work, or why it was switched off or made stricter; empty if
    nothing is the matter. `calibration` is the body of the one in force, `cut` its certificate for the rate in force, None
    if there is none."""

    problem: str
    rate: float
    entries: int
    size: int
    confirmed: int
    audits: Audits
    calibration: Mapping[str, Any]
    certificate: tuple[Mapping[str, Any], ...]


def state_of(row: CacheNamespace) -> State:
    """The tier of the tenant in scope."""
    held = SemanticEntry.objects.filter(expires_at__gt=timezone.now(), size__gt=0).aggregate(
        entries=Count("id"), size=Sum("size"), confirmed=Count("id", filter=Q(confirmed=True))
    )
    calibration = _calibration(row)
    rate = row.semantic_rate * 0.5**row.semantic_tightened
    return State(
        problem=on_loop(support()).problem or row.semantic_problem,
        rate=rate,
        entries=held["entries"],
        size=held["size"] or 0,
        confirmed=held["confirmed"],
        audits=_audits(row),
        calibration={
            "version": calibration.get("version", ""),
            "embedder": row.semantic_embedder,
            "measured_on": calibration.get("data", ""),
        },
        certificate=_certificate(calibration, rate),
    )


def prepare_change(row: CacheNamespace, changes: Mapping[str, Any]) -> None:
    """See to what follows from a change of settings that was made to `row`, which isn't saved yet. Raises InvalidRequest."""
    if "semantic_embedder" in changes:
        try:
            check_name(row.semantic_embedder)
        except EmbedderMissing as error:
            raise InvalidRequest(str(error), details={"param": "semantic_embedder"}) from error
        newest = SemanticCalibration.objects.filter(embedder=row.semantic_embedder).order_by("-id").first()
        row.semantic_calibration = newest.version if newest is not None else ""
    if RESTARTING & set(changes):
        row.semantic_since, row.semantic_tightened, row.semantic_problem = time.time(), 0, ""


def forget_alias(alias: str | None) -> int:
    """Delete the entries of a model, or all. How many."""
    entries = SemanticEntry.objects.all() if alias is None else SemanticEntry.objects.filter(alias=alias)
    return entries.delete()[0]


def forget_prefix(prefix: str) -> tuple[int, list[bytes]]:
    """Delete the entries whose question begins so, whatever the case. How many, and the exact cache's keys of their answers."""
    wanted = " ".join(prefix.casefold().split())
    if not wanted:
        raise InvalidRequest("prefix: the beginning of a question is needed.", details={"param": "prefix"})
    tenant_id = current_tenant_id()
    ids, keys = [], []
    for entry in _entries_by_page():
        asked = question_of_cell(tenant_id, entry.id, bytes(entry.question)) if entry.size else None
        if asked is not None and " ".join(asked.text.casefold().split()).startswith(wanted):
            ids.append(entry.id)
            keys.append(bytes(entry.exact_key))
    for start in range(0, len(ids), PAGE):
        SemanticEntry.objects.filter(id__in=ids[start : start + PAGE]).delete()
    return len(ids), keys


def forget_entry(entry_id: uuid.UUID) -> bytes | None:
    """Delete one entry. The exact cache's key of its answer; None if there is no such entry."""
    entry = SemanticEntry.objects.filter(id=entry_id).only("id", "exact_key").first()
    if entry is None:
        return None
    SemanticEntry.objects.filter(id=entry_id).delete()
    return bytes(entry.exact_key)


def forget_exact(key: bytes) -> None:
    """Delete the entries whose answer is what the exact cache keeps under a key."""
    SemanticEntry.objects.filter(exact_key=key).delete()


def report_wrong(entry_id: uuid.UUID) -> bytes:
    """Somebody says that an entry's answer was wrong: it is served no more, and what it said is forgotten. The exact cache's
    key of its answer. Raises NotFound for what isn't served."""
    entries = SemanticEntry.objects.filter(id=entry_id, size__gt=0)
    entry = entries.only("id", "wrong", "exact_key").first()
    if entry is None or not entries.update(wrong=entry.wrong + 1, question=b"", body=b"", size=0):
        raise NotFound("There is no such entry.")
    # Without Redis the counter alone is lost.
    with suppress(RedisError):
        sync_redis().hincrby(stats_key(current_tenant_id()), "semantic_reports", 1)
    return bytes(entry.exact_key)


def report_wrong_answer(request_id: uuid.UUID) -> bytes | None:
    """The same of what a request from a room was answered with, or whose answer was kept, in the last days; None if there is
    no such entry that was served until now."""
    try:
        found = sync_redis().get(served_key(current_tenant_id(), request_id))
    except RedisError:
        return None
    if not isinstance(found, bytes):
        return None
    try:
        return report_wrong(uuid.UUID(bytes=found))
    except NotFound:
        return None


def warm_up(row: CacheNamespace, *, limit: int) -> int:
    """Make entries of the newest requests whose contents were captured, at most `limit`. How many. Raises InvalidRequest where
    the tier is off, and Unavailable."""
    if not 1 <= limit <= MAX_WARMED:
        raise InvalidRequest(f"limit: a whole number from 1 to {MAX_WARMED} is needed.", details={"param": "limit"})
    if not (row.enabled and row.semantic):
        raise InvalidRequest("The semantic cache is off.")
    if problem := on_loop(support()).problem:
        raise Unavailable(problem)
    work = warming.warm_up(row.tenant_id, limit=limit, ttl_s=row.semantic_ttl_s)
    return on_loop(work, timeout_s=WARM_S)


def _entries_by_page() -> Iterator[SemanticEntry]:
    after = uuid.UUID(int=0)
    while page := list(
        SemanticEntry.objects.filter(id__gt=after).only("id", "question", "exact_key", "size").order_by("id")[:PAGE]
    ):
        yield from page
        after = page[-1].id


def _audits(row: CacheNamespace) -> Audits:
    since = datetime.fromtimestamp(row.semantic_since, tz=UTC)
    agreed = list(SemanticAudit.objects.filter(at__gte=since).order_by("-id").values_list("agreed", flat=True)[:WINDOW])
    wrong = agreed.count(False)
    low, high = interval(wrong, len(agreed))
    return Audits(len(agreed), wrong, wrong / len(agreed) if agreed else None, low, high)


def _certificate(calibration: Mapping[str, Any], rate: float) -> tuple[Mapping[str, Any], ...]:
    """The cuts in force for a rate, the highest certified that isn't above: for all together, then of each kind of
    neighbourhood."""
    found = []
    for stratum in ({"name": "", "cuts": calibration.get("cuts", ())}, *calibration.get("strata", ())):
        allowed = [cut for cut in stratum["cuts"] if cut["rate"] <= rate * (1 + 1e-9)]
        if allowed:
            found.append({"stratum": stratum["name"], **max(allowed, key=lambda cut: cut["rate"])})
    return tuple(found)


def _calibration(row: CacheNamespace) -> Mapping[str, Any]:
    own = SemanticCalibration.objects.filter(embedder=row.semantic_embedder, version=row.semantic_calibration).first()
    if own is not None:
        body: Mapping[str, Any] = own.body
        return body
    return msgspec.to_builtins(shipped_for(row.semantic_embedder)) or {}
