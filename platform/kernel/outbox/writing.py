"""Writing messages, in the transaction that they belong to."""

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from django.db import connection as django_connection
from psycopg.types.json import Jsonb

from kernel import adb
from kernel.ids import uuid7
from kernel.outbox import topics
from kernel.tenancy import current_tenant_id

PAYLOAD_BYTES_MAX = 64 * 1024
ONCE_KEY_CHARS_MAX = 200

_INSERT = """
    INSERT INTO kernel_outboxmessage (id, tenant_id, topic, payload, once_key, due_at)
    VALUES (%s, %s, %s, %s, %s, now() + make_interval(secs => %s))
    ON CONFLICT (tenant_id, topic, once_key) WHERE once_key <> '' DO NOTHING RETURNING id
"""


def send(*, topic: str, payload: Mapping[str, object], once_key: str = "", after_s: float = 0.0) -> uuid.UUID | None:
    """Write a message into the tenant's transaction in force; its id. With `once_key`, None where the topic has a message of
    that key (they are kept for some days). `payload` is JSON, ids rather than what they stand for; it is not begun
    before `after_s` seconds from now.

    Raises `LookupError` for a topic that nobody has named, `ValueError` for what doesn't fit.
    """
    given = _values(current_tenant_id(), topic, payload, once_key, after_s)
    with django_connection.cursor() as cursor:
        cursor.execute(_INSERT, given)
        row = cursor.fetchone()
    return row[0] if row else None


async def send_on(
    opened: adb.Connection,
    *,
    tenant_id: uuid.UUID,
    topic: str,
    payload: Mapping[str, object],
    once_key: str = "",
    after_s: float = 0.0,
) -> uuid.UUID | None:
    """The same in a transaction of `kernel.adb`, of that tenant."""
    cursor = await opened.execute(_INSERT, _values(tenant_id, topic, payload, once_key, after_s))
    row = await cursor.fetchone()
    return row["id"] if row else None


def _values(
    tenant_id: uuid.UUID, topic: str, payload: Mapping[str, object], once_key: str, after_s: float
) -> tuple[Any, ...]:
    if topics.find(topic) is None:
        raise LookupError(f"no app has the topic {topic}")
    if len(once_key) > ONCE_KEY_CHARS_MAX:
        raise ValueError(f"once_key: at most {ONCE_KEY_CHARS_MAX} characters")
    text = msgspec.json.encode(payload)
    if len(text) > PAYLOAD_BYTES_MAX:
        raise ValueError(f"payload: at most {PAYLOAD_BYTES_MAX} bytes")
    return uuid7(), tenant_id, topic, Jsonb(msgspec.json.decode(text)), once_key, after_s
