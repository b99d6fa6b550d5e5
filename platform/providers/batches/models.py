"""What files and batches keep in the database. A file's bytes are in the storage (`providers.batches.objects`)."""

import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q

from kernel.constraints import TenantForeignKey
from kernel.models import TenantModel, unique_in_tenant

PURPOSES = ("batch", "batch_output")
FILE_STATES = ("storing", "stored")
BATCH_STATES = (
    "validating",
    "in_progress",
    "finalizing",
    "cancelling",
    "completed",
    "failed",
    "expired",
    "cancelled",
)
RUNNING = BATCH_STATES[:4]
"""Somebody still has to do something."""


class File(TenantModel):
    """A file of one caller: `principal_id` is the key or membership whose it is. Past `expires_at` it doesn't exist any
    more; while it is being stored, not yet."""

    principal_id = models.UUIDField()
    purpose = models.CharField(max_length=16)
    name = models.CharField(max_length=255)
    size = models.BigIntegerField()
    state = models.CharField(max_length=16)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("file"),
            models.CheckConstraint(name="file_purpose", condition=Q(purpose__in=PURPOSES)),
            models.CheckConstraint(name="file_state", condition=Q(state__in=FILE_STATES)),
            models.CheckConstraint(name="file_size", condition=Q(size__gte=0)),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant", "principal_id", "id"], name="file_of_principal"),
            models.Index(fields=["expires_at"], name="file_expires", condition=Q(expires_at__isnull=False)),
        ]


class Batch(TenantModel):
    """Requests in a file, to be answered within a day. `principal_id` is the key or membership whose it is, and who pays.

    `next_number` and `next_offset` say where in the input the first line is that may still be to do. A batch is worked on
    by `lease_owner` until `lease_until`; `counts` are exact once it has ended."""

    principal_id = models.UUIDField()
    principal_kind = models.CharField(max_length=16)
    membership_id = models.UUIDField()
    api_key_id = models.UUIDField(null=True)
    input_file_id = models.UUIDField()
    output_file_id = models.UUIDField(null=True)
    error_file_id = models.UUIDField(null=True)
    endpoint = models.CharField(max_length=64)
    metadata = models.JSONField(null=True)
    status = models.CharField(max_length=16, default="validating")
    errors = models.JSONField(null=True)
    total = models.PositiveIntegerField(default=0)
    completed = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    next_number = models.PositiveIntegerField(default=1)
    next_offset = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    results_kept = models.DurationField(null=True, help_text="how long its files are kept, where it says so")
    in_progress_at = models.DateTimeField(null=True)
    finalizing_at = models.DateTimeField(null=True)
    cancelling_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    expired_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)
    lease_owner = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    turn_at = models.DateTimeField(auto_now_add=True, help_text="when a worker last took it up")

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("batch"),
            models.CheckConstraint(name="batch_status", condition=Q(status__in=BATCH_STATES)),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant", "principal_id", "id"], name="batch_of_principal"),
            models.Index(fields=["turn_at"], name="batch_due", condition=Q(status__in=RUNNING)),
            models.Index(fields=["created_at"], name="batch_made"),
        ]


class BatchLine(TenantModel):
    """What became of one line of a running batch: a line of the file that it will be in. Gone once that is written."""

    batch = models.ForeignKey(Batch, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False)
    number = models.PositiveIntegerField(help_text="from 1")
    failed = models.BooleanField()
    content = models.BinaryField()

    batch_id: uuid.UUID

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("batch_line"),
            models.UniqueConstraint(fields=["tenant", "batch", "number"], name="batch_line_key"),
            TenantForeignKey(name="batch_line_batch_fk", field="batch", on_delete="CASCADE"),
        ]
