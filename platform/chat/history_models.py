"""What is kept of a conversation beside its messages: reactions, what was made of old turns, and what people think of
answers."""

import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models.functions import Now

from chat.bounds import ALIAS_CHARS_MAX, EMOJI_CHARS_MAX, FEEDBACK_COMMENT_CHARS_MAX
from kernel.constraints import TenantForeignKey
from kernel.models import TenantModel, unique_in_tenant, within_tenant


class Reaction(TenantModel):
    """One emoji of one member under one message."""

    room = within_tenant("chat.Room")
    message = within_tenant("chat.Message")
    membership = within_tenant("tenants.Membership")
    emoji = models.CharField(max_length=EMOJI_CHARS_MAX)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("reaction"),
            models.UniqueConstraint(fields=["tenant", "message", "membership", "emoji"], name="reaction_key"),
            TenantForeignKey(name="reaction_room_fk", field="room"),
            TenantForeignKey(name="reaction_message_fk", field="message"),
            TenantForeignKey(name="reaction_membership_fk", field="membership"),
        ]


class Summary(TenantModel):
    """What a model made of the turns of a branch up to and including `until`: told to models in their place.

    Made once for each `until`, paid for by whoever asked what it was needed for; gone when one of those turns is edited
    or deleted. `covers` counts them; `read_at` is when they were read.
    """

    room = within_tenant("chat.Room")
    until = within_tenant("chat.Message")
    text = models.TextField()
    covers = models.IntegerField()
    model = models.CharField(max_length=ALIAS_CHARS_MAX, help_text="alias")
    request_id = models.UUIDField()
    cost_nano = models.BigIntegerField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    room_id: uuid.UUID
    until_id: uuid.UUID

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("summary"),
            models.UniqueConstraint(fields=["tenant", "room", "until"], name="summary_key"),
            TenantForeignKey(name="summary_room_fk", field="room"),
            TenantForeignKey(name="summary_until_fk", field="until"),
            models.CheckConstraint(name="summary_covers_something", condition=models.Q(covers__gt=0)),
        ]


class Feedback(TenantModel):
    """What a member thinks of an answer."""

    class Rating(models.TextChoices):
        UP = "up"
        DOWN = "down"

    room = within_tenant("chat.Room")
    message = within_tenant("chat.Message")
    membership = within_tenant("tenants.Membership")
    model = models.CharField(max_length=ALIAS_CHARS_MAX, help_text="alias that answered")
    rating = models.CharField(max_length=8, choices=Rating)
    comment = models.CharField(max_length=FEEDBACK_COMMENT_CHARS_MAX, default="", db_default="")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    room_id: uuid.UUID
    message_id: uuid.UUID
    membership_id: uuid.UUID

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("feedback"),
            models.UniqueConstraint(fields=["tenant", "message", "membership"], name="feedback_key"),
            TenantForeignKey(name="feedback_room_fk", field="room"),
            TenantForeignKey(name="feedback_message_fk", field="message"),
            TenantForeignKey(name="feedback_membership_fk", field="membership"),
            models.CheckConstraint(name="feedback_rating", condition=models.Q(rating__in=["up", "down"])),
        ]
