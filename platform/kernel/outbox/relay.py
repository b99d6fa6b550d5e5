"""Claiming what is due, across tenants, as `parley_platform`, which sees no payload."""

import uuid
from dataclasses import dataclass

from django.db import connections, transaction

CLAIM_S = 60.0
"""A claim whose worker said nothing for so long is over."""
BATCH = 200
IN_FLIGHT_MAX = 1_000
"""Claimed and not ended: so many at most wait in Celery's queue, or are worked on."""
OF_TENANT_MAX = 50
"""The same of one tenant: what it has too much of waits in the table, and goes round nowhere."""

_IN_FLIGHT = """
    SELECT count(*) FROM (
        SELECT 1 FROM kernel_outboxmessage WHERE status = 'waiting' AND claimed_until > now() LIMIT %s
    ) AS claimed
"""

# The recursive part steps from tenant to tenant by the index, whatever each one has waiting; then each has its first ones.
_CLAIM = """
    WITH RECURSIVE tenants AS (
        (SELECT tenant_id FROM kernel_outboxmessage WHERE status = 'waiting' ORDER BY tenant_id LIMIT 1)
        UNION ALL
        SELECT (SELECT m.tenant_id FROM kernel_outboxmessage m
                WHERE m.status = 'waiting' AND m.tenant_id > t.tenant_id ORDER BY m.tenant_id LIMIT 1)
        FROM tenants t WHERE t.tenant_id IS NOT NULL
    ), under_way AS (
        SELECT tenant_id, count(*) AS taken FROM kernel_outboxmessage
        WHERE status = 'waiting' AND claimed_until > now() GROUP BY tenant_id
    ), due AS (
        SELECT d.id FROM tenants t LEFT JOIN under_way u ON u.tenant_id = t.tenant_id CROSS JOIN LATERAL (
            SELECT m.id, row_number() OVER (ORDER BY m.due_at, m.id) AS place FROM kernel_outboxmessage m
            WHERE m.tenant_id = t.tenant_id AND m.status = 'waiting' AND m.due_at <= now()
            ORDER BY m.due_at, m.id LIMIT greatest(0, %s - coalesce(u.taken, 0))
        ) d
        ORDER BY d.place, d.id LIMIT %s
    ), locked AS (
        SELECT m.id FROM kernel_outboxmessage m
        WHERE m.id IN (SELECT id FROM due) AND m.status = 'waiting' AND m.due_at <= now()
        FOR UPDATE SKIP LOCKED
    )
    UPDATE kernel_outboxmessage m
    SET claims = m.claims + 1, claimed_until = now() + make_interval(secs => %s), due_at = now() + make_interval(secs => %s)
    FROM locked WHERE m.id = locked.id
    RETURNING m.tenant_id, m.id, m.topic, m.claims
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that is this worker's to pass on. `claim` is its number: one that was claimed since is somebody else's."""

    tenant_id: uuid.UUID
    message_id: uuid.UUID
    topic: str
    claim: int


def claim_due(*, batch: int = BATCH) -> list[Claimed]:
    """Claim at most `batch` messages that are due: of each tenant its first before any tenant's second. None while
    `IN_FLIGHT_MAX` are under way, none of a tenant that has `OF_TENANT_MAX`."""
    with transaction.atomic(using="platform"), connections["platform"].cursor() as cursor:
        cursor.execute(_IN_FLIGHT, [IN_FLIGHT_MAX])
        room = min(batch, IN_FLIGHT_MAX - cursor.fetchone()[0])
        if room <= 0:
            return []
        cursor.execute(_CLAIM, [OF_TENANT_MAX, room, CLAIM_S, CLAIM_S])
        return [Claimed(*row) for row in cursor.fetchall()]
