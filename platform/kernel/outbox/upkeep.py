"""What operators see and do of the outbox, and what becomes of old messages. All of it as `parley_platform`."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.db import connections, transaction

from kernel import adb
from kernel.errors import NotFound

DONE_KEPT_DAYS = 7
DEAD_KEPT_DAYS = 90
BATCH = 5_000
BATCHES_MAX = 100
SHOWN_MAX = 100

# Two parts, each by a partial index: what was done is the most of the table.
_STATE = """
    SELECT w.waiting, w.claimed, w.failing, d.dead, w.late_s
    FROM (
        SELECT count(*) AS waiting, count(*) FILTER (WHERE claimed_until > now()) AS claimed,
               count(*) FILTER (WHERE attempts > 0) AS failing,
               coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE due_at <= now())), 0)::float8 AS late_s
        FROM kernel_outboxmessage WHERE status = 'waiting'
    ) w, (SELECT count(*) AS dead FROM kernel_outboxmessage WHERE status = 'dead') d
"""
_EXPIRED = """
    DELETE FROM kernel_outboxmessage WHERE id IN (
        SELECT id FROM kernel_outboxmessage WHERE status = %s AND ended_at < now() - make_interval(days => %s) LIMIT %s
    )
"""
_DEAD = """
    SELECT id, tenant_id, topic, attempts, problem, created_at, ended_at FROM kernel_outboxmessage
    WHERE status = 'dead' AND (%s::text IS NULL OR topic = %s) AND (%s::uuid IS NULL OR id < %s)
    ORDER BY id DESC LIMIT %s
"""
_REPLAY = """
    UPDATE kernel_outboxmessage SET status = 'waiting', attempts = 0, due_at = now(), ended_at = NULL
    WHERE status = 'dead' AND (id = %s OR topic = %s)
"""


@dataclass(frozen=True, slots=True)
class State:
    """Messages that wait, those of them that are claimed or have failed before, and the dead; and by how many seconds the
    oldest that is due is late."""

    waiting: int
    claimed: int
    failing: int
    dead: int
    late_s: float


@dataclass(frozen=True, slots=True)
class Dead:
    """A message that was given up. What it says is for its tenant alone."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    topic: str
    attempts: int
    problem: str
    created_at: datetime
    ended_at: datetime


def state() -> State:
    """How the outbox stands."""
    with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
        cursor.execute(_STATE)
        return State(*cursor.fetchone())


async def state_now() -> State:
    """The same, from an event loop."""
    async with adb.tenantless(alias="platform") as connection:
        rows = await (await connection.execute(_STATE)).fetchall()
    return State(**rows[0])


def dead(*, topic: str | None = None, before: uuid.UUID | None = None, limit: int = SHOWN_MAX) -> list[Dead]:
    """Dead messages, newest first, at most `SHOWN_MAX`; those of a topic, those before one."""
    with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
        cursor.execute(_DEAD, [topic, topic, before, before, min(limit, SHOWN_MAX)])
        return [Dead(*row) for row in cursor.fetchall()]


def replay(*, message_id: uuid.UUID | None = None, topic: str | None = None) -> int:
    """Have a dead message, or all of a topic, tried again. Consumers that did their part don't repeat it. How many.

    Raises `NotFound` when there is none."""
    with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
        cursor.execute(_REPLAY, [message_id, topic])
        if not cursor.rowcount:
            raise NotFound("There is no such dead message.")
        return int(cursor.rowcount)


def delete_old() -> int:
    """Delete messages that were done, or are dead, long enough; in batches, so that nobody waits for long. How many."""
    deleted = 0
    for status, kept_days in (("done", DONE_KEPT_DAYS), ("dead", DEAD_KEPT_DAYS)):
        for _ in range(BATCHES_MAX):
            with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
                cursor.execute(_EXPIRED, [status, kept_days, BATCH])
                deleted += cursor.rowcount
                if cursor.rowcount < BATCH:
                    break
    return deleted
