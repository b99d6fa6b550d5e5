"""What was shared by link."""

import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now

from chat.bounds import TITLE_CHARS_MAX
from kernel.constraints import TenantForeignKey
from kernel.models import TenantModel, unique_in_tenant, within_tenant


class Share(TenantModel):
    """A branch of a room as it was when a member shared it. Of the link only a digest is kept; `messages` holds what whoever
    has it reads: of each its id, who wrote it (kind and name), when, and the text.
    """

    room = within_tenant("chat.Room")
    created_by = within_tenant("tenants.Membership")
    digest = models.BinaryField(max_length=32)
    title = models.CharField(max_length=TITLE_CHARS_MAX)
    messages = models.JSONField()
    with_others = models.BooleanField(help_text="what others wrote is in it")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)

    room_id: uuid.UUID
    created_by_id: uuid.UUID

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("share"),
            models.UniqueConstraint(fields=["digest"], name="share_digest_key"),
            TenantForeignKey(name="share_room_fk", field="room"),
            TenantForeignKey(name="share_created_by_fk", field="created_by"),
        ]
        indexes: ClassVar[list[Any]] = [models.Index(fields=["tenant", "room"], name="shares_of_room")]
