"""Celery tasks that know their tenant.

A `TenantTask`'s message carries the tenant of whoever sent it in a header, and the task runs in that scope; without the
header it fails before its first statement. A `PlatformTask` is a named cross-tenant job: it has no tenant, and works as
`parley_platform`. Every task is one or the other; a test looks.
"""

import uuid
from typing import Any

from celery import Task

from kernel.tenancy import NoTenant, current_tenant_id, tenant_scope

HEADER = "parley_tenant"


class TenantTask(Task[Any, Any]):
    """Runs as the tenant in whose scope it was sent. Raises `NoTenant` in a worker when the message names none."""

    abstract = True

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """Send the task, with the tenant in scope in its headers."""
        options["headers"] = {**(options.get("headers") or {}), HEADER: str(current_tenant_id())}
        return super().apply_async(*args, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run as the tenant that the message names."""
        named = (self.request.headers or {}).get(HEADER) or getattr(self.request, HEADER, None)
        if not named:
            raise NoTenant(f"the message of {self.name} names no tenant")
        with tenant_scope(uuid.UUID(str(named))):
            return super().__call__(*args, **kwargs)


class PlatformTask(Task[Any, Any]):
    """A named job across tenants."""

    abstract = True
