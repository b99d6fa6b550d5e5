"""The audit trail: one row for each thing somebody did to a tenant's settings, people or keys."""

import uuid
from typing import Any

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
