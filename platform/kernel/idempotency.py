"""POSTs that say how to know them again: `Idempotency-Key`. The first has its effect; another of the same principal, method,
path and key is answered as the first was, for a day.

* The key's row is written in the transaction of the effect: there is none without the other.
* One at a time: who finds the key in use by a transaction that is open gets `InProgress`.
* An answer's secret is not kept. What is replayed then is `Withheld`, with the rest of the answer.
* The effect of a handler that opens transactions of its own is claimed beforehand. If its process dies, the claim runs out,
  and the handler, whose service knows a repeated command by itself (see `kernel.api.idempotency`), runs again.
"""

import hashlib
import uuid
from dataclasses import dataclass, field

from django.db import connection, connections, transaction
from django.utils import timezone

from kernel.errors import Conflict, InvalidRequest, Unprocessable
from kernel.ids import uuid7, uuid7_floor
from kernel.tenancy import current_tenant_id

KEY_CHARS_MAX = 255
PATH_CHARS_MAX = 1_000
KEPT_S = 24 * 3600
CLAIM_S = 120.0
"""Longer than any request takes."""
BODY_CHARS_MAX = 256 * 1024
"""What is longer isn't kept to be given again."""
WHOLE = "*"
"""Withheld: all of the body."""
BATCH = 5_000
BATCHES_MAX = 1_000

_FIND = """
    SELECT id, request_digest, status, body, withheld, coalesce(claimed_until > now(), false) FROM kernel_idempotencykey
    WHERE principal_id = %s AND method = %s AND path = %s AND key = %s AND created_at > now() - make_interval(secs => %s)
"""
_WRITE = """
    INSERT INTO kernel_idempotencykey (id, tenant_id, principal_id, method, path, key, request_digest, status, body,
        withheld, claimed_until)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s::text[], now() + make_interval(secs => %s))
    ON CONFLICT (tenant_id, principal_id, method, path, key) DO UPDATE SET
        id = excluded.id, request_digest = excluded.request_digest, status = excluded.status, body = excluded.body,
        withheld = excluded.withheld, claimed_until = excluded.claimed_until, created_at = now()
"""
_ANSWER = """
    UPDATE kernel_idempotencykey SET status = %s, body = %s, withheld = %s::text[], claimed_until = NULL WHERE id = %s
"""
_EXPIRED = """
    DELETE FROM kernel_idempotencykey WHERE id IN (SELECT id FROM kernel_idempotencykey WHERE id < %s ORDER BY id LIMIT %s)
"""


class InProgress(Conflict):
    """The first request with this key is still being worked on. Try again in a moment."""

    code = "idempotency_in_progress"

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


class Reused(Unprocessable):
    """This Idempotency-Key was used for another request."""

    code = "idempotency_key_reused"


class Withheld(Conflict):
    """This was done, by an earlier request with this key. What its answer held is not shown again."""

    code = "idempotency_answer_withheld"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that has a key. `digest` is of all else that it says."""

    principal_id: uuid.UUID
    method: str
    path: str
    key: str
    digest: bytes

    def __post_init__(self) -> None:
        if not (0 < len(self.key) <= KEY_CHARS_MAX and self.key.isascii() and self.key.isprintable()):
            raise InvalidRequest(
                f"Idempotency-Key: 1 to {KEY_CHARS_MAX} printable ASCII characters are needed.",
                details={"param": "Idempotency-Key"},
            )
        if len(self.path) > PATH_CHARS_MAX:
            raise InvalidRequest("The path is too long for an Idempotency-Key.")

    @property
    def name(self) -> tuple[uuid.UUID, str, str, str]:
        """What its row is found by."""
        return self.principal_id, self.method, self.path, self.key

    @property
    def lock(self) -> int:
        """The number of its advisory lock, by tenant: 64 bits with a sign."""
        text = "\x00".join((str(current_tenant_id()), str(self.principal_id), self.method, self.path, self.key))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered: JSON without the `withheld` fields."""

    status: int
    body: str = field(repr=False)
    withheld: tuple[str, ...] = ()

    def bounded(self) -> "Answer":
        """Without its body if that is too long to keep."""
        return self if len(self.body) <= BODY_CHARS_MAX else Answer(self.status, "", (WHOLE,))


def find(asked: Asked) -> Answer | None:
    """What the first request with this key was answered, in the tenant's transaction in force; None for the first, which from
    now until the transaction ends is the only one.

    Raises `InProgress` and `Reused`.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [asked.lock])
        if not cursor.fetchone()[0]:
            raise InProgress
        cursor.execute(_FIND, [*asked.name, KEPT_S])
        row = cursor.fetchone()
    if row is None:
        return None
    _, digest, status, body, withheld, claimed = row
    if bytes(digest) != asked.digest:
        raise Reused
    if status is not None:
        return Answer(status, body, tuple(withheld))
    if claimed:
        raise InProgress
    return None


def write(asked: Asked, answer: Answer) -> None:
    """Keep the answer, in the transaction of the effect."""
    kept = answer.bounded()
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, [*_named(asked), kept.status, kept.body, list(kept.withheld), None])


def claim(asked: Asked) -> uuid.UUID:
    """Say that the request is being worked on. The claim's id."""
    named = _named(asked)
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, [*named, None, "", [], CLAIM_S])
    return named[0]


def end_claim(claim_id: uuid.UUID, answer: Answer | None) -> None:
    """Keep the answer to what was claimed; or, without one, let the key be used anew: nothing came of it."""
    with connection.cursor() as cursor:
        if answer is None:
            cursor.execute("DELETE FROM kernel_idempotencykey WHERE id = %s", [claim_id])
            return
        kept = answer.bounded()
        cursor.execute(_ANSWER, [kept.status, kept.body, list(kept.withheld), claim_id])


def delete_expired() -> int:
    """Delete keys, whosever they are, whose time is over; in batches, so that nobody waits for long. How many."""
    before = uuid7_floor(int((timezone.now().timestamp() - KEPT_S) * 1000))
    deleted = 0
    for _ in range(BATCHES_MAX):
        with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
            # The ids rise with time: the primary key finds the old ones.
            cursor.execute(_EXPIRED, [before, BATCH])
            deleted += cursor.rowcount
            if cursor.rowcount < BATCH:
                break
    return deleted


def _named(asked: Asked) -> tuple[uuid.UUID, uuid.UUID, uuid.UUID, str, str, str, bytes]:
    return uuid7(), current_tenant_id(), *asked.name, asked.digest
