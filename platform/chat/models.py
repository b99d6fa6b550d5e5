"""Rooms, who is in them, what was said, and the answers being written.

`RoomEvent` is the order of things: one row per durable event, ids alone, numbered without gaps within its room. It is
partitioned by a hash of the room.
"""

import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now

from chat.attachment_models import Attachment
from chat.bounds import ALIAS_CHARS_MAX, CID_CHARS_MAX, FOLDER_CHARS_MAX, TITLE_CHARS_MAX
from chat.history_models import Feedback, Reaction, Summary
from chat.library_models import Preset, Prompt
from chat.note_models import Note
from chat.policy_models import RoomPolicy, retention_days_check
from chat.share_models import Share
from chat.transfer_models import Transfer
from kernel.constraints import TenantForeignKey
from kernel.ids import NIL
from kernel.models import TenantModel, unique_in_tenant, within_tenant

__all__ = [
    "ENDED_STATUSES",
    "LIVE_STATUSES",
    "Attachment",
    "CommandReceipt",
    "Feedback",
    "Generation",
    "Message",
    "Note",
    "Preset",
    "Prompt",
    "Reaction",
    "Room",
    "RoomEvent",
    "RoomMember",
    "RoomPolicy",
    "Share",
    "Summary",
    "Transfer",
]

IMPORTED_ROLES = ("user", "assistant", "system", "tool")
IMPORTED_NAME_CHARS_MAX = 100


class Room(TenantModel):
    """A place where people and models write. `head_seq` is the number of its last event."""

    class Kind(models.TextChoices):
        PRIVATE = "private"
        SHARED = "shared"

    kind = models.CharField(max_length=16, choices=Kind)
    title = models.CharField(max_length=TITLE_CHARS_MAX)
    created_by = within_tenant("tenants.Membership")
    head_seq = models.BigIntegerField(default=0, db_default=0)
    last_id = models.UUIDField(default=NIL, db_default=NIL, help_text="no message or generation has a greater one")
    epoch = models.BigIntegerField(default=1, db_default=1, help_text="rises when the Redis stream was lost")
    settings = models.JSONField(default=dict, help_text="model (alias or null), instructions")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())
    last_message_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)
    erased_at = models.DateTimeField(null=True, help_text="when what a deleted room held was deleted")
    retention_days = models.PositiveIntegerField(null=True, help_text="less than the tenant's; null: as the tenant's")
    archived_at = models.DateTimeField(null=True, help_text="nothing is said here any more")

    created_by_id: uuid.UUID

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("room"),
            TenantForeignKey(name="room_created_by_fk", field="created_by"),
            models.CheckConstraint(name="room_kind", condition=models.Q(kind__in=["private", "shared"])),
            models.CheckConstraint(name="room_head_seq_not_negative", condition=models.Q(head_seq__gte=0)),
            retention_days_check("room_retention"),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(
                fields=["tenant", "id"],
                name="rooms_that_expire",
                condition=models.Q(retention_days__isnull=False)
                | models.Q(deleted_at__isnull=False, erased_at__isnull=True),
            )
        ]


class RoomMember(TenantModel):
    """A member in a room. The row stays when they leave: it is what they had seen if they return."""

    class Role(models.TextChoices):
        OWNER = "owner"
        MODERATOR = "moderator"
        MEMBER = "member"
        READER = "reader"

    room = within_tenant("chat.Room")
    membership = within_tenant("tenants.Membership")
    role = models.CharField(max_length=16, choices=Role)
    seen_seq = models.BigIntegerField(default=0, db_default=0)
    joined_at = models.DateTimeField(db_default=Now())
    left_at = models.DateTimeField(null=True)
    pinned_at = models.DateTimeField(null=True)
    muted = models.BooleanField(default=False, db_default=False)
    folder = models.CharField(max_length=FOLDER_CHARS_MAX, default="", db_default="")
    branch = within_tenant("chat.Message", null=True, help_text="what is read on from; null: the newest")

    room_id: uuid.UUID
    membership_id: uuid.UUID

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("room_member"),
            models.UniqueConstraint(fields=["tenant", "room", "membership"], name="room_member_key"),
            TenantForeignKey(name="room_member_room_fk", field="room"),
            TenantForeignKey(name="room_member_membership_fk", field="membership"),
            models.CheckConstraint(
                name="room_member_role", condition=models.Q(role__in=["owner", "moderator", "member", "reader"])
            ),
            TenantForeignKey(name="room_member_branch_fk", field="branch"),
        ]
        indexes: ClassVar[list[Any]] = [models.Index(fields=["tenant", "membership", "room"], name="rooms_of_member")]


class Message(TenantModel):
    """What a member or a model said, or somebody elsewhere, who is nobody here: an imported one has a role and a name of
    its own words. `text` is the text of `parts`, joined."""

    class Author(models.TextChoices):
        MEMBER = "member"
        MODEL = "model"
        IMPORTED = "imported"

    room = within_tenant("chat.Room")
    parent = within_tenant("self", null=True)
    author_kind = models.CharField(max_length=16, choices=Author)
    author_membership = within_tenant("tenants.Membership", null=True)
    model = models.CharField(
        max_length=ALIAS_CHARS_MAX, default="", db_default="", help_text="alias, if a model wrote it"
    )
    imported_role = models.CharField(max_length=16, default="", db_default="")
    imported_name = models.CharField(max_length=IMPORTED_NAME_CHARS_MAX, default="", db_default="")
    generation = within_tenant("chat.Generation", null=True)
    parts = models.JSONField(default=list)
    text = models.TextField()
    mentions = models.JSONField(
        default=list,
        db_default=models.Value([], models.JSONField()),
        help_text="ids of the memberships that are named in it",
    )
    created_at = models.DateTimeField(db_default=Now())
    edited_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)

    room_id: uuid.UUID

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("message"),
            TenantForeignKey(name="message_room_fk", field="room"),
            TenantForeignKey(name="message_parent_fk", field="parent"),
            TenantForeignKey(name="message_author_fk", field="author_membership"),
            TenantForeignKey(name="message_generation_fk", field="generation"),
            models.CheckConstraint(
                name="message_has_one_author",
                condition=models.Q(author_kind="member", author_membership__isnull=False, model="")
                | (models.Q(author_kind="model", author_membership__isnull=True) & ~models.Q(model=""))
                | models.Q(
                    author_kind="imported", author_membership__isnull=True, model="", imported_role__in=IMPORTED_ROLES
                ),
            ),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant", "room", "id"], name="messages_of_room"),
            models.Index(fields=["tenant", "room", "parent", "id"], name="messages_by_parent"),
            models.Index(
                fields=["tenant", "generation"],
                name="message_of_generation",
                condition=models.Q(generation__isnull=False),
            ),
            models.Index(
                fields=["tenant", "created_at"], name="messages_by_age", condition=models.Q(deleted_at__isnull=True)
            ),
        ]


LIVE_STATUSES = ("queued", "streaming")
ENDED_STATUSES = ("complete", "stopped", "failed", "interrupted")


class Generation(TenantModel):
    """An answer of a model to a prompt, from the question until it ended.

    While it streams, the process `lease_owner` owns it until `lease_until`; `checkpoint` is its text so far, at most a
    second or 4 KiB behind. `attempt` holds what is needed to bill it should that process die.
    """

    class Status(models.TextChoices):
        QUEUED = "queued"
        STREAMING = "streaming"
        COMPLETE = "complete"
        STOPPED = "stopped"
        FAILED = "failed"
        INTERRUPTED = "interrupted"

    room = within_tenant("chat.Room")
    prompt = within_tenant("chat.Message")
    answer = within_tenant("chat.Message", null=True)
    model = models.CharField(max_length=ALIAS_CHARS_MAX, help_text="alias")
    status = models.CharField(max_length=16, choices=Status, default=Status.QUEUED, db_default="queued")
    lease_owner = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    checkpoint = models.TextField(default="", db_default="")
    checkpoint_length = models.IntegerField(default=0, db_default=0, help_text="code points")
    checkpoint_parts = models.JSONField(null=True, help_text="kind and length of each part; null: all is text")
    attempt = models.JSONField(default=dict)
    usage = models.JSONField(null=True)
    cost_nano = models.BigIntegerField(null=True)
    error_code = models.CharField(max_length=64, default="", db_default="")
    error_message = models.CharField(max_length=1000, default="", db_default="")
    requested_by = within_tenant("tenants.Membership")
    requested_key_id = models.UUIDField(null=True, help_text="the API key that asked, if one did")
    request_id = models.UUIDField()
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)
    stop_requested_at = models.DateTimeField(null=True)
    anew = models.BooleanField(default=False, db_default=False, help_text="asked again: never from a cache")
    context = models.JSONField(null=True, help_text="what of the branch the model was told: summary, left_out")
    restarted_at = models.DateTimeField(null=True, help_text="begun anew, once, because its process died before a word")

    room_id: uuid.UUID

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("generation"),
            TenantForeignKey(name="generation_room_fk", field="room"),
            TenantForeignKey(name="generation_prompt_fk", field="prompt"),
            TenantForeignKey(name="generation_answer_fk", field="answer"),
            TenantForeignKey(name="generation_requested_by_fk", field="requested_by"),
            models.CheckConstraint(
                name="generation_status", condition=models.Q(status__in=[*LIVE_STATUSES, *ENDED_STATUSES])
            ),
            models.CheckConstraint(
                name="generation_leased_while_streaming",
                condition=models.Q(status="streaming", lease_owner__isnull=False, lease_until__isnull=False)
                | (~models.Q(status="streaming") & models.Q(lease_owner__isnull=True, lease_until__isnull=True)),
            ),
            models.CheckConstraint(
                name="generation_finished_when_ended",
                condition=models.Q(status__in=LIVE_STATUSES, finished_at__isnull=True)
                | models.Q(status__in=ENDED_STATUSES, finished_at__isnull=False),
            ),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant", "prompt"], name="generations_of_prompt"),
            models.Index(
                fields=["tenant", "room"], name="live_generations", condition=models.Q(status__in=LIVE_STATUSES)
            ),
        ]


class RoomEvent(models.Model):
    """A durable event: what happened, by ids. Never text, so that what was deleted is nowhere."""

    pk = models.CompositePrimaryKey("tenant_id", "room_id", "seq")
    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.DO_NOTHING, db_index=False, related_name="+")
    room = within_tenant("chat.Room")
    seq = models.BigIntegerField()
    type = models.CharField(max_length=32)
    ids = models.JSONField(default=dict)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar[list[Any]] = [TenantForeignKey(name="room_event_room_fk", field="room")]


class CommandReceipt(TenantModel):
    """The answer that a command got, kept for ever: the same `cid` of the same member gets it again."""

    membership = within_tenant("tenants.Membership")
    cid = models.CharField(max_length=CID_CHARS_MAX)
    ack = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("command_receipt"),
            models.UniqueConstraint(fields=["tenant", "membership", "cid"], name="command_receipt_key"),
            TenantForeignKey(name="command_receipt_membership_fk", field="membership"),
        ]
