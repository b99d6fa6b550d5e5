"""The shapes of rooms in REST: inputs are checked here; outputs are `chat.shapes`, described for the schema."""

from typing import Any

from rest_framework import serializers

from chat.bounds import (
    ALIAS_CHARS_MAX,
    CID_CHARS_MAX,
    INSTRUCTIONS_CHARS_MAX,
    MESSAGE_CHARS_MAX,
    TITLE_CHARS_MAX,
)
from chat.models import ENDED_STATUSES, LIVE_STATUSES, Room, RoomMember
from kernel.api.serializers import StrictSerializer

KINDS = list(Room.Kind.values)
ROLES = list(RoomMember.Role.values)


class RoomInput(StrictSerializer):
    """A new room."""

    kind = serializers.ChoiceField(KINDS)
    title = serializers.CharField(max_length=TITLE_CHARS_MAX, required=False, allow_blank=True, default="")
    model = serializers.CharField(max_length=ALIAS_CHARS_MAX, required=False, allow_null=True, default=None)
    instructions = serializers.CharField(
        max_length=INSTRUCTIONS_CHARS_MAX,
        required=False,
        allow_blank=True,
        default="",
        trim_whitespace=False,
        help_text="What models are told before the conversation.",
    )


class RoomChangeInput(StrictSerializer):
    """What to change; what is left out stays."""

    kind = serializers.ChoiceField(KINDS, required=False)
    title = serializers.CharField(max_length=TITLE_CHARS_MAX, required=False)
    model = serializers.CharField(
        max_length=ALIAS_CHARS_MAX, required=False, allow_null=True, help_text="null: the default model."
    )
    instructions = serializers.CharField(
        max_length=INSTRUCTIONS_CHARS_MAX, required=False, allow_blank=True, trim_whitespace=False
    )


class MessageInput(StrictSerializer):
    """Something to say."""

    text = serializers.CharField(max_length=MESSAGE_CHARS_MAX, trim_whitespace=False)
    model = serializers.CharField(
        max_length=ALIAS_CHARS_MAX, required=False, help_text="Else the room's, or the default."
    )
    cid = serializers.CharField(
        max_length=CID_CHARS_MAX,
        required=False,
        help_text="The client's id for this message: sending it again writes nothing twice.",
    )
    generate = serializers.BooleanField(default=True, help_text="Whether a model answers.")


class RoomMemberInput(StrictSerializer):
    """Whom to let in."""

    member = serializers.UUIDField(help_text="A membership's id.")


class RoomOutput(serializers.Serializer[Any]):
    """A room, as the caller sees it."""

    id = serializers.UUIDField()
    title = serializers.CharField()
    kind = serializers.ChoiceField(KINDS)
    model = serializers.CharField(allow_null=True, help_text="Alias; null: the default.")
    instructions = serializers.CharField(allow_blank=True)
    epoch = serializers.CharField(help_text="To be compared for equality only.")
    head_seq = serializers.IntegerField(help_text="The number of the last event.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    last_message_at = serializers.DateTimeField(allow_null=True)
    role = serializers.ChoiceField(ROLES, help_text="The caller's own.")
    seen_seq = serializers.IntegerField(help_text="How far the caller has read.")


class NamedMemberOutput(serializers.Serializer[Any]):
    """A membership, by name."""

    id = serializers.UUIDField()
    name = serializers.CharField()


class RoomMemberOutput(serializers.Serializer[Any]):
    """A member in a room."""

    id = serializers.UUIDField()
    member = NamedMemberOutput()
    role = serializers.ChoiceField(ROLES)
    joined_at = serializers.DateTimeField()


class AuthorOutput(serializers.Serializer[Any]):
    """Who wrote."""

    kind = serializers.ChoiceField(["member", "model"])
    id = serializers.UUIDField(allow_null=True, help_text="The membership; null for a model.")
    name = serializers.CharField()


class PartOutput(serializers.Serializer[Any]):
    """A part of a message."""

    type = serializers.ChoiceField(["text"])
    text = serializers.CharField()


class GenerationErrorOutput(serializers.Serializer[Any]):
    """Why an answer failed."""

    code = serializers.CharField()
    message = serializers.CharField()


class GenerationUsageOutput(serializers.Serializer[Any]):
    """Tokens by disjoint meters."""

    input = serializers.IntegerField()
    cache_read = serializers.IntegerField()
    cache_write = serializers.IntegerField()
    output = serializers.IntegerField()
    reasoning = serializers.IntegerField()


class AnsweredOutput(serializers.Serializer[Any]):
    """How an answer came to be."""

    status = serializers.ChoiceField([*LIVE_STATUSES, *ENDED_STATUSES])
    error = GenerationErrorOutput(allow_null=True)
    usage = GenerationUsageOutput(allow_null=True)
    cost_nano = serializers.IntegerField(allow_null=True, help_text="nano-USD")


class MessageOutput(serializers.Serializer[Any]):
    """What was said."""

    id = serializers.UUIDField()
    room = serializers.UUIDField()
    author = AuthorOutput()
    # Every serializer has an attribute of this name; declared fields are taken out of the class, so it stays.
    parent = serializers.UUIDField(allow_null=True)  # type: ignore[assignment]
    parts = PartOutput(many=True)
    text = serializers.CharField(allow_blank=True)
    generation = serializers.UUIDField(allow_null=True)
    answered = AnsweredOutput(allow_null=True, help_text="How it ended and what it cost, where a model wrote it.")
    created_at = serializers.DateTimeField()
    edited_at = serializers.DateTimeField(allow_null=True)
    deleted = serializers.BooleanField()


class GenerationOutput(serializers.Serializer[Any]):
    """An answer of a model."""

    id = serializers.UUIDField()
    room = serializers.UUIDField()
    prompt = serializers.UUIDField(help_text="The message it answers.")
    answer = serializers.UUIDField(allow_null=True, help_text="The message it became, once ended with any text.")
    model = serializers.CharField()
    status = serializers.ChoiceField([*LIVE_STATUSES, *ENDED_STATUSES])
    text = serializers.CharField(allow_null=True, allow_blank=True, help_text="What there is so far, where it is told.")
    error = GenerationErrorOutput(allow_null=True)
    usage = GenerationUsageOutput(allow_null=True)
    cost_nano = serializers.IntegerField(allow_null=True, help_text="nano-USD")
    requested_by = serializers.UUIDField()
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class SentOutput(serializers.Serializer[Any]):
    """A message that is in the room, and the answer to it that was begun."""

    message = MessageOutput()
    generation = GenerationOutput(allow_null=True)


class SnapshotOutput(serializers.Serializer[Any]):
    """A room's state at `seq`."""

    room = RoomOutput()
    members = RoomMemberOutput(many=True)
    messages = MessageOutput(many=True, help_text="The latest, oldest first.")
    has_more = serializers.BooleanField(help_text="Whether there are older messages.")
    generations = GenerationOutput(
        many=True,
        help_text="The answers being written, with their text so far, and those that ended without a message.",
    )
    epoch = serializers.CharField()
    seq = serializers.IntegerField()
