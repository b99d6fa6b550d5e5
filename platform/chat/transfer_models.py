"""Exports and imports, as a table. Their bytes are in the storage."""

import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from kernel.constraints import TenantForeignKey
from kernel.models import TenantModel, unique_in_tenant, within_tenant

FORMATS = ("markdown", "json", "pdf")
STATES = ("storing", "queued", "running", "complete", "failed")


class Transfer(TenantModel):
    """An export of a room, or an import of a file, that a member asked for: theirs alone. `size` is what it holds in the
    storage; `expires_at` is when that is deleted. A worker works on it until `lease_until`; `place` says how far it came."""

    kind = models.CharField(max_length=8)
    membership = within_tenant("tenants.Membership")
    room = within_tenant("chat.Room", null=True)
    format = models.CharField(max_length=16, default="", db_default="")
    name = models.CharField(max_length=255, help_text="of the file")
    state = models.CharField(max_length=16)
    total = models.IntegerField(null=True, help_text="messages of an export, conversations of an import, once known")
    done = models.IntegerField(default=0, db_default=0)
    failed = models.IntegerField(default=0, db_default=0)
    problems = models.JSONField(default=list, help_text="what could not be taken over, and why")
    place = models.JSONField(default=dict)
    error_code = models.CharField(max_length=64, default="", db_default="")
    error_message = models.CharField(max_length=1000, default="", db_default="")
    size = models.BigIntegerField(default=0, db_default=0, help_text="bytes")
    turns = models.IntegerField(default=0, db_default=0)
    lease_owner = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    turn_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()

    room_id: uuid.UUID | None

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("transfer"),
            TenantForeignKey(name="transfer_membership_fk", field="membership"),
            TenantForeignKey(name="transfer_room_fk", field="room", on_delete="SET NULL"),
            models.CheckConstraint(name="transfer_kind", condition=Q(kind__in=("export", "import"))),
            models.CheckConstraint(name="transfer_state", condition=Q(state__in=STATES)),
            models.CheckConstraint(name="transfer_format", condition=Q(format__in=("", *FORMATS))),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant", "membership", "kind", "id"], name="transfers_of_member"),
            models.Index(fields=["tenant", "room"], name="exports_of_room", condition=Q(room__isnull=False)),
            models.Index(fields=["turn_at"], name="transfer_due", condition=Q(state__in=("queued", "running"))),
            models.Index(fields=["expires_at"], name="transfer_expires"),
        ]
