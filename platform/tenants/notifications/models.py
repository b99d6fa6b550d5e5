"""What is told, and to whom it was told in the app."""

import uuid
from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from kernel.constraints import TenantForeignKey
from kernel.models import TenantModel, unique_in_tenant

SUBJECT_CHARS_MAX = 200
LINK_CHARS_MAX = 500
ONCE_KEY_CHARS_MAX = 200


class Notice(TenantModel):
    """Something that happened, as it is told: once for each `once_key`."""

    topic = models.CharField(max_length=64)
    once_key = models.CharField(max_length=ONCE_KEY_CHARS_MAX)
    permission = models.CharField(max_length=64, db_default="", help_text="told to all members who have it")
    memberships = ArrayField(models.UUIDField(), db_default=[], help_text="told to these members")
    addresses = ArrayField(models.CharField(max_length=254), db_default=[], help_text="sent here by e-mail as well")
    subject = models.CharField(max_length=SUBJECT_CHARS_MAX)
    text = models.TextField()
    html = models.TextField(db_default="", help_text="the body of the e-mail; empty: made from the text")
    link = models.CharField(max_length=LINK_CHARS_MAX, db_default="", help_text="a path of the browser app")
    data = models.JSONField(db_default={}, help_text="for programs")
    attachments = models.JSONField(db_default=[], help_text="files of the e-mail, by the names of their objects")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("notice"),
            models.UniqueConstraint(fields=["tenant", "once_key"], name="notice_once_key"),
        ]


class Notification(TenantModel):
    """A notice in a member's list."""

    notice = models.ForeignKey(
        Notice, on_delete=models.DO_NOTHING, db_constraint=False, related_name="notifications", db_index=False
    )
    membership = models.ForeignKey(
        "tenants.Membership", on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    read_at = models.DateTimeField(null=True)

    notice_id: uuid.UUID
    membership_id: uuid.UUID

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("notification"),
            models.UniqueConstraint(fields=["tenant", "notice", "membership"], name="notification_key"),
            TenantForeignKey(name="notification_notice_fk", field="notice", on_delete="CASCADE"),
            TenantForeignKey(name="notification_membership_fk", field="membership", on_delete="CASCADE"),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant", "membership", "id"], name="notifications_of_member"),
            models.Index(
                fields=["tenant", "membership"], name="notifications_unread", condition=models.Q(read_at=None)
            ),
        ]
