"""Files in rooms, as tables. Their bytes are in the storage (`chat.files.objects`)."""

import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from chat.files.bounds import NAME_CHARS_MAX
from kernel.constraints import TenantForeignKey
from kernel.models import TenantModel, unique_in_tenant, within_tenant

KINDS = ("image", "pdf", "text")
STATES = ("storing", "stored")


class Attachment(TenantModel):
    """A file that somebody sends with a message. Until one claims it, it is its uploader's alone, and expires; then it is the
    room's. `size` counts all that is kept of it, `content_size` what is downloaded. Past `expires_at` it is no more."""

    uploader = within_tenant("tenants.Membership")
    room = within_tenant("chat.Room", null=True)
    message = within_tenant("chat.Message", null=True)
    kind = models.CharField(max_length=16)
    name = models.CharField(max_length=NAME_CHARS_MAX)
    media_type = models.CharField(max_length=64)
    size = models.BigIntegerField(help_text="bytes")
    content_size = models.BigIntegerField(help_text="bytes")
    width = models.IntegerField(null=True, help_text="pixels")
    height = models.IntegerField(null=True, help_text="pixels")
    pages = models.IntegerField(null=True)
    text_chars = models.IntegerField(null=True)
    has_model = models.BooleanField(default=False, help_text="there is a smaller one for models")
    has_preview = models.BooleanField(default=False)
    state = models.CharField(max_length=16)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True)

    room_id: uuid.UUID | None

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("attachment"),
            TenantForeignKey(name="attachment_uploader_fk", field="uploader"),
            TenantForeignKey(name="attachment_room_fk", field="room"),
            TenantForeignKey(name="attachment_message_fk", field="message"),
            models.CheckConstraint(name="attachment_kind", condition=Q(kind__in=KINDS)),
            models.CheckConstraint(name="attachment_state", condition=Q(state__in=STATES)),
            models.CheckConstraint(name="attachment_sizes", condition=Q(content_size__gte=0, size__gte=0)),
            models.CheckConstraint(
                name="attachment_claimed_or_expires",
                condition=Q(room__isnull=True, expires_at__isnull=False)
                | Q(room__isnull=False, expires_at__isnull=True),
            ),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant", "room"], name="attachments_of_room", condition=Q(room__isnull=False)),
            models.Index(
                fields=["tenant", "message"], name="attachments_of_message", condition=Q(message__isnull=False)
            ),
            models.Index(
                fields=["tenant", "uploader"], name="unclaimed_attachments", condition=Q(expires_at__isnull=False)
            ),
            models.Index(fields=["expires_at"], name="attachment_expires", condition=Q(expires_at__isnull=False)),
        ]
