"""A claimed message, given to its topic's consumers or sender, and its end."""

import asyncio
import threading
import uuid
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import structlog
from django.db import connection as django_connection
from django.db import transaction
from django.utils import timezone
from psycopg import Error

from kernel import adb
from kernel.errors import ParleyError
from kernel.ids import uuid7
from kernel.loop import begin_on_loop
from kernel.outbox import topics
from kernel.outbox.relay import CLAIM_S
from kernel.outbox.topics import Failed, GiveUp, Later, Message, Schedule, Sending, Topic
from kernel.tenancy import current_tenant_id

log = structlog.get_logger(__name__)

SEND_MAX_S = 45.0
"""What a sender may take. Well below `CLAIM_S`: then somebody else may begin."""
BUSY_S = 2.0
"""When a process sends as much as it may, others or itself try again after this."""
LATER_MAX = timedelta(days=3)
"""A message that could not even be tried for so long is dead."""
PROBLEM_CHARS_MAX = 500

# Who begins takes a number of their own: neither a message that Celery delivers again, nor an older claim, begins with it.
_BEGIN = """
    UPDATE kernel_outboxmessage SET claims = claims + 1, attempts = attempts + 1,
        claimed_until = now() + make_interval(secs => %s), due_at = now() + make_interval(secs => %s)
    WHERE id = %s AND claims = %s AND status = 'waiting'
    RETURNING topic, payload, claims, attempts, created_at
"""
_RECEIPT = """
    INSERT INTO kernel_outboxreceipt (id, tenant_id, message_id, consumer) VALUES (%s, %s, %s, %s)
    ON CONFLICT (tenant_id, message_id, consumer) DO NOTHING
"""
_END = """
    UPDATE kernel_outboxmessage SET status = %s, due_at = now() + make_interval(secs => %s), attempts = attempts - %s,
        problem = %s, claimed_until = NULL, ended_at = CASE WHEN %s = 'waiting' THEN NULL ELSE now() END
    WHERE id = %s AND claims = %s
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended. `unspent` is 1 when it was none."""

    status: str = "done"
    after_s: float = 0.0
    unspent: int = 0
    problem: str = ""

    def values(self, message_id: uuid.UUID, claim: int) -> tuple[Any, ...]:
        """The parameters of `_END`."""
        return self.status, self.after_s, self.unspent, self.problem, self.status, message_id, claim


@dataclass(frozen=True, slots=True)
class _Begun:
    message: Message
    claim: int


class _Slots:
    """How many messages of each sender this process has under way, in all and by tenant."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[tuple[str, uuid.UUID | None]] = Counter()

    def take(self, topic: str, tenant_id: uuid.UUID, sending: Sending) -> bool:
        """Whether there was room for one more."""
        with self._lock:
            if (
                self._taken[topic, None] >= sending.at_once
                or self._taken[topic, tenant_id] >= sending.at_once_of_tenant
            ):
                return False
            self._taken.update([(topic, None), (topic, tenant_id)])
            return True

    def give_back(self, topic: str, tenant_id: uuid.UUID) -> None:
        """One is done."""
        with self._lock:
            for key in ((topic, None), (topic, tenant_id)):
                self._taken[key] -= 1
                if not self._taken[key]:
                    del self._taken[key]


_slots = _Slots()


def consume(*, message_id: uuid.UUID, claim: int, topic: str) -> "Future[None] | None":
    """Work on a message of the tenant in scope under this claim; nothing happens if it is nobody's any more.

    What a sender does goes on by itself, on the loop: the future is done when it is.
    """
    known = topics.find(topic)
    if known is None or known.sending is None:
        _consume_here(message_id, claim, known or Topic(topic))
        return None
    tenant_id = current_tenant_id()
    if not _slots.take(topic, tenant_id, known.sending):
        with transaction.atomic(), django_connection.cursor() as cursor:
            cursor.execute(_END, Outcome("waiting", BUSY_S, problem="busy").values(message_id, claim))
        return None
    return begin_on_loop(_send(known, known.sending, tenant_id, message_id, claim))


def _consume_here(message_id: uuid.UUID, claim: int, topic: Topic) -> None:
    tenant_id = current_tenant_id()
    with transaction.atomic(), django_connection.cursor() as cursor:
        cursor.execute(_BEGIN, [CLAIM_S, CLAIM_S, message_id, claim])
        row = cursor.fetchone()
        if row is None:
            return
        begun = _begun(topic, tenant_id, message_id, _decoded(row))
    outcome = _worst([_consumed(name, begun.message, topic) for name in topic.consumers]) if topic.consumers else None
    if outcome is None:
        outcome = _after(Failed("this version has no consumer of this topic"), begun.message, topic.schedule)
    with transaction.atomic(), django_connection.cursor() as cursor:
        cursor.execute(_END, outcome.values(message_id, begun.claim))


def _consumed(name: str, message: Message, topic: Topic) -> Outcome:
    """One consumer's part, with its receipt, in a transaction."""
    try:
        with transaction.atomic(), django_connection.cursor() as cursor:
            cursor.execute(_RECEIPT, [uuid7(), message.tenant_id, message.id, name])
            if cursor.rowcount:
                topic.consumers[name](message)
    except Exception as error:  # noqa: BLE001 - whatever it raises, the message has to go on
        return _after(error, message, topic.schedule, of=name)
    return Outcome()


async def _send(topic: Topic, sending: Sending, tenant_id: uuid.UUID, message_id: uuid.UUID, claim: int) -> None:
    try:
        async with adb.transaction(tenant_id) as opened:
            cursor = await opened.execute(_BEGIN, (CLAIM_S, CLAIM_S, message_id, claim))
            row = await cursor.fetchone()
        if row is None:
            return
        begun = _begun(topic, tenant_id, message_id, row)
        try:
            async with asyncio.timeout(SEND_MAX_S):
                await sending.send(begun.message)
            outcome = Outcome()
        except Exception as error:  # noqa: BLE001 - whatever it raises, the message has to go on
            outcome = _after(error, begun.message, topic.schedule)
        async with adb.transaction(tenant_id) as opened:
            await opened.execute(_END, outcome.values(message_id, begun.claim))
    except (ParleyError, Error, OSError) as error:
        # The claim runs out, and the message is claimed again.
        log.warning("outbox_message_left", topic=topic.name, message_id=str(message_id), problem=repr(error))
    finally:
        _slots.give_back(topic.name, tenant_id)


def _begun(topic: Topic, tenant_id: uuid.UUID, message_id: uuid.UUID, row: dict[str, Any]) -> _Begun:
    attempt = row["attempts"]
    message = Message(
        id=message_id,
        tenant_id=tenant_id,
        topic=topic.name,
        payload=row["payload"],
        attempt=attempt,
        is_last=attempt >= topic.schedule.attempts,
        created_at=row["created_at"],
    )
    return _Begun(message, row["claims"])


def _after(error: Exception, message: Message, schedule: Schedule, *, of: str = "") -> Outcome:
    """What follows from an attempt that raised."""
    if isinstance(error, Later) and timezone.now() - message.created_at < LATER_MAX:
        return Outcome("waiting", error.after_s, unspent=1, problem="later")
    if isinstance(error, Later):
        error = GiveUp("it could not be tried for too long")
    reason = error.reason if isinstance(error, Failed) else type(error).__name__
    problem = (f"{of}: {reason}" if of else reason)[:PROBLEM_CHARS_MAX]
    delay_s = schedule.delay_s(message.attempt)
    known = isinstance(error, Failed)
    told = log.bind(topic=message.topic, message_id=str(message.id), attempt=message.attempt, problem=problem)
    if isinstance(error, GiveUp) or delay_s is None:
        told.error("outbox_message_dead", exc_info=None if known else error)
        return Outcome("dead", problem=problem)
    told.warning("outbox_attempt_failed", exc_info=None if known else error)
    asked_s = error.again_after_s if isinstance(error, Failed) else None
    return Outcome("waiting", delay_s if asked_s is None else asked_s, problem=problem)


_RANK = {"done": 0, "waiting": 1, "dead": 2}


def _worst(outcomes: list[Outcome]) -> Outcome:
    """A message is done when all are; it is dead when one is, and no other is to be asked again."""
    again = [outcome for outcome in outcomes if outcome.status == "waiting"]
    if again:
        spent = [outcome for outcome in again if not outcome.unspent]
        return min(spent or again, key=lambda outcome: outcome.after_s)
    return max(outcomes, key=lambda outcome: _RANK[outcome.status])


def _decoded(row: tuple[Any, ...]) -> dict[str, Any]:
    """A row of `_BEGIN` by Django's connection, which leaves JSON to its models."""
    topic, payload, claims, attempts, created_at = row
    return {
        "topic": topic,
        "payload": msgspec.json.decode(payload),
        "claims": claims,
        "attempts": attempts,
        "created_at": created_at,
    }
