"""The audit trail: one row for each thing somebody did to a tenant's settings, people or keys."""

import uuid
from typing import Any

from psycopg.types.json import Jsonb

from kernel import adb
from kernel.ids import uuid7
from kernel.tenancy import current_tenant_id
from tenants.models import AuditEvent
from tenants.principals import Principal


def record(
    *,
    action: str,
    subject_kind: str,
    subject_id: uuid.UUID | None,
    actor: Principal | None = None,
    data: dict[str, Any] | None = None,
    using: str = "default",
) -> AuditEvent:
    """Write one event into the tenant in scope. Without `actor` an operator did it."""
    return AuditEvent.objects.using(using).create(
        tenant_id=current_tenant_id(),
        actor_kind=actor.kind if actor else "operator",
        actor_id=actor.id if actor else None,
        action=action,
        subject_kind=subject_kind,
        subject_id=subject_id,
        data=data or {},
    )


async def record_on(
    opened: adb.Connection,
    *,
    action: str,
    subject_kind: str,
    subject_id: uuid.UUID | None = None,
    actor: Principal,
    data: dict[str, Any] | None = None,
) -> None:
    """Write one event in a transaction of `kernel.adb`, of the actor's tenant."""
    await opened.execute(
        "INSERT INTO tenants_auditevent (id, tenant_id, at, actor_kind, actor_id, action, subject_kind, subject_id, data)"
        " VALUES (%s, %s, now(), %s, %s, %s, %s, %s, %s)",
        (uuid7(), actor.tenant_id, actor.kind, actor.id, action, subject_kind, subject_id, Jsonb(data or {})),
    )


async def record_unasked(
    opened: adb.Connection,
    *,
    tenant_id: uuid.UUID,
    action: str,
    subject_kind: str,
    subject_id: uuid.UUID,
    data: dict[str, Any],
) -> None:
    """Write down, in a transaction of the tenant's, what no member did: the platform noticed it on the operator's behalf."""
    await opened.execute(
        "INSERT INTO tenants_auditevent (id, tenant_id, at, actor_kind, actor_id, action, subject_kind, subject_id, data)"
        " VALUES (%s, %s, now(), 'operator', NULL, %s, %s, %s, %s)",
        (uuid7(), tenant_id, action, subject_kind, subject_id, Jsonb(data)),
    )
