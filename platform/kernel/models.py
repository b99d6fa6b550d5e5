"""What every tenant's table has in common."""

import uuid

from django.db import models

from kernel.ids import uuid7


class TenantModel(models.Model):
    """A row of one tenant: UUIDv7 `id`, the owning `tenant`, and `(tenant_id, id)` for composite foreign keys to point at.

    The table's migration adds `kernel.migrations.IsolateByTenant`; the catalogue test fails without it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.DO_NOTHING, db_index=False, related_name="+")

    tenant_id: uuid.UUID

    class Meta:
        abstract = True


def unique_in_tenant(table: str) -> models.UniqueConstraint:
    """The constraint that composite foreign keys to `table` refer to."""
    return models.UniqueConstraint(fields=["tenant", "id"], name=f"{table}_tenant_id_key")
