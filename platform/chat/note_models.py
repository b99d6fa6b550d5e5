"""What members are told beside their rooms."""

import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now

from kernel.constraints import TenantForeignKey
from kernel.models import TenantModel, unique_in_tenant, within_tenant


class Note(TenantModel):
    """Something that a member is told on whatever socket they have, and again on the next until they have seen its number.

    `seq` grows from note to note of a membership. `body` holds ids, never text.
    """

    membership = within_tenant("tenants.Membership")
    seq = models.BigIntegerField()
    type = models.CharField(max_length=32)
    room = within_tenant("chat.Room", null=True)
    body = models.JSONField(default=dict)
    at = models.DateTimeField(db_default=Now())

    membership_id: uuid.UUID
    room_id: uuid.UUID | None

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("note"),
            models.UniqueConstraint(fields=["tenant", "membership", "seq"], name="note_number"),
            models.UniqueConstraint(
                fields=["tenant", "membership", "room"], name="note_unread_once", condition=models.Q(type="unread")
            ),
            TenantForeignKey(name="note_membership_fk", field="membership"),
            TenantForeignKey(name="note_room_fk", field="room", on_delete="CASCADE"),
            models.CheckConstraint(
                name="note_unread_of_room", condition=~models.Q(type="unread") | models.Q(room__isnull=False)
            ),
        ]
        indexes: ClassVar[list[Any]] = [models.Index(fields=["tenant", "room"], name="notes_of_room")]
