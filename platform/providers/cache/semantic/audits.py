"""What was found by asking a provider although the cache had an answer: the running rate of wrong answers, and what follows
when it is too high.

Two answers are the same if their texts are (but for case, space and marks), or if they embed alike and, where they are
short, the guard finds the same numbers, dates, versions and negations in both. An entry whose answer an audit found to be
another is served no more."""

import re
import time
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import structlog

from kernel import adb, outbox
from kernel.ids import uuid7
from providers.cache import namespaces
from providers.cache.models import DEFAULT_NAME, PROBLEM_CHARS_MAX
from providers.cache.namespaces import Namespace
from providers.cache.semantic import storage
from providers.cache.semantic.detector import interval, is_breached
from providers.cache.semantic.entries import AUDITS, Seen, open_body, seal
from providers.cache.semantic.lookups import Would
from providers.cache.semantic.questions import Asking
from providers.cache.semantic.vectors import from_reals
from providers.cache.stats import stats
from providers.semantic import guard
from providers.semantic.clusters import agree
from providers.semantic.embedders.base import Vectors

log = structlog.get_logger(__name__)

TOPIC = "cache.breached"
WINDOW = 1_000
"""Audits that are looked at, the newest."""
MAX_TIGHTENED = 2
FAR_TIMES = 5
"""A rate that is certainly so many times the stated one disables the tier at once."""
SHORT_CHARS = 200
"""In answers up to this length a number or a negation is what they say. Longer ones, put in other words, differ in such things
without saying anything else, and are the same by their vectors alone."""
_MARKS = re.compile(r"[\W_]+")

_INSERT = """
    INSERT INTO providers_semanticaudit
        (id, tenant_id, entry, alias, subject_id, agreed, score, cosine, embedder, calibration, seen, at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_NEWEST = "SELECT agreed FROM providers_semanticaudit WHERE at >= to_timestamp(%s) ORDER BY id DESC LIMIT %s"
_LOCK = "SELECT semantic, semantic_since, semantic_tightened FROM providers_cachenamespace WHERE name = %s FOR UPDATE"
_CHANGE = """
    UPDATE providers_cachenamespace
    SET semantic = %s, semantic_tightened = %s, semantic_since = %s, semantic_problem = %s, updated_at = now()
    WHERE name = %s
"""


class Audit(msgspec.Struct, frozen=True):
    """One comparison."""

    entry_id: UUID
    agreed: bool
    score: float
    cosine: float
    calibration: str
    seen: Seen


def is_same(one: str, other: str) -> bool:
    """Whether two answers that embed alike say the same, for all that words can tell."""
    if _plain(one) == _plain(other) or max(len(one), len(other)) > SHORT_CHARS:
        return True
    was, now = guard.features_of(one), guard.features_of(other)
    return all(getattr(was, name) == getattr(now, name) for name in ("numbers", "dates", "versions", "negated"))


def _plain(text: str) -> str:
    return _MARKS.sub(" ", text.casefold()).strip()


async def compare(connection: adb.Connection, asking: Asking, would: Would, text: str, answer: Vectors) -> Audit | None:
    """What an audit finds; None if the entry is gone meanwhile. One that is wrong is served no more."""
    tenant_id = asking.place.tenant_id
    row = await storage.answer_of(connection, would.entry_id)
    opened = open_body(tenant_id, would.entry_id, row["body"]) if row is not None else None
    if row is None or opened is None:
        return None
    stored = opened[0].answer.text
    agreed = _plain(stored) == _plain(text) or (
        agree(answer, from_reals(row["answer_embedding"])) and is_same(stored, text)
    )
    if not agreed:
        await storage.call_wrong(connection, would.entry_id)
    chosen = next(index for index, one in enumerate(would.candidates) if one.id == would.entry_id)
    seen = tuple((one.text, one.cosine, str(one.cluster)) for one in would.candidates)
    cosine = would.candidates[chosen].cosine
    version = asking.place.namespace.semantic_calibration
    return Audit(would.entry_id, agreed, would.verdict.score, cosine, version, Seen(asking.question.text, seen, chosen))


async def record(asking: Asking, audit: Audit) -> None:
    """Write an audit down, and act if there were too many wrong ones. Raises psycopg's errors and `Unavailable`."""
    tenant_id, audit_id = asking.place.tenant_id, uuid7()
    stats().count(tenant_id, "semantic_audits")
    if not audit.agreed:
        stats().count(tenant_id, "semantic_audits_wrong")
    row = (
        audit_id,
        tenant_id,
        audit.entry_id,
        asking.job.alias,
        asking.job.payer.subject_id,
        audit.agreed,
        audit.score,
        audit.cosine,
        asking.embedder,
        audit.calibration,
        seal(audit.seen, tenant_id=tenant_id, table=AUDITS, row_id=audit_id, column="seen"),
        datetime.now(UTC),
    )
    async with adb.transaction(tenant_id) as connection:
        await connection.execute(_INSERT, row)
    if not audit.agreed:
        # Only a wrong answer can raise an alarm.
        await _act(asking)


async def _act(asking: Asking) -> None:
    """Tighten the cut or disable the tier, if the audits since the last change say so."""
    tenant_id, namespace = asking.place.tenant_id, asking.place.namespace
    async with adb.transaction(tenant_id) as connection:
        held = await (await connection.execute(_LOCK, (DEFAULT_NAME,))).fetchone()
        if held is None or not held["semantic"]:
            return
        rows = await (await connection.execute(_NEWEST, (held["semantic_since"], WINDOW))).fetchall()
        wrongs = [not row["agreed"] for row in reversed(rows)]
        if not is_breached(wrongs, rate=namespace.semantic_rate):
            return
        low, high = interval(sum(wrongs), len(wrongs))
        tightened = held["semantic_tightened"] + 1
        goes_on = tightened <= MAX_TIGHTENED and low < FAR_TIMES * namespace.semantic_rate
        problem = _told(namespace, sum(wrongs), len(wrongs), (low, high), goes_on=goes_on)
        await connection.execute(_CHANGE, (goes_on, tightened, time.time(), problem, DEFAULT_NAME))
        await outbox.send_on(
            connection, tenant_id=tenant_id, topic=TOPIC, payload={"goes_on": goes_on, "text": problem}
        )
    log.warning(
        "semantic_tier_breached", tenant_id=str(tenant_id), goes_on=goes_on, wrong=sum(wrongs), audits=len(wrongs)
    )
    await namespaces.announce_now(tenant_id)


def _told(namespace: Namespace, wrong: int, audits: int, bounds: tuple[float, float], *, goes_on: bool) -> str:
    low, high = bounds
    what = "it now serves only what is more certain" if goes_on else "it was switched off"
    return (
        f"Of the last {audits} audited answers of the semantic cache {wrong} were wrong ({low:.1%} to {high:.1%}), "
        f"more than the stated {namespace.semantic_rate:.1%}: {what}."
    )[:PROBLEM_CHARS_MAX]
