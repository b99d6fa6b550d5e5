"""What is said to rooms: bodies and queries of REST."""

from rest_framework import serializers

from chat.api.serializers import ANSWERS, KINDS, ROLES
from chat.bounds import (
    ALIAS_CHARS_MAX,
    CID_CHARS_MAX,
    EMOJI_CHARS_MAX,
    FOLDER_CHARS_MAX,
    INSTRUCTIONS_CHARS_MAX,
    MESSAGE_CHARS_MAX,
    MODELS_PER_MESSAGE_MAX,
    TITLE_CHARS_MAX,
)
from chat.files.bounds import ATTACHMENTS_PER_MESSAGE_MAX
from kernel.api.serializers import StrictSerializer


class _RoomSettings(StrictSerializer):
    """How a room goes about its conversations."""

    answers = serializers.ChoiceField(
        ANSWERS, required=False, help_text="Shared rooms: `mentioned` lets only those models answer that are."
    )
    titles = serializers.BooleanField(required=False, help_text="Whether it gets a title from its first exchange.")
    preset = serializers.UUIDField(required=False, allow_null=True, help_text="One that the caller sees.")
    summaries = serializers.BooleanField(
        required=False, help_text="Whether old turns that a model can't take any more are summarised; else left out."
    )


class RoomInput(_RoomSettings):
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


class RoomChangeInput(_RoomSettings):
    """What to change; what is left out stays."""

    kind = serializers.ChoiceField(KINDS, required=False)
    title = serializers.CharField(max_length=TITLE_CHARS_MAX, required=False)
    model = serializers.CharField(
        max_length=ALIAS_CHARS_MAX, required=False, allow_null=True, help_text="null: the default model."
    )
    instructions = serializers.CharField(
        max_length=INSTRUCTIONS_CHARS_MAX, required=False, allow_blank=True, trim_whitespace=False
    )
    retention_days = serializers.IntegerField(
        required=False, allow_null=True, help_text="Messages are deleted after so many; null: as the tenant says."
    )
    archived = serializers.BooleanField(required=False, help_text="Nothing is said in it any more.")


class _AnswerersInput(StrictSerializer):
    """Who is to answer."""

    model = serializers.CharField(
        max_length=ALIAS_CHARS_MAX, required=False, help_text="Else the room's, or the default."
    )
    models = serializers.ListField(
        child=serializers.CharField(max_length=ALIAS_CHARS_MAX),
        max_length=MODELS_PER_MESSAGE_MAX,
        required=False,
        help_text="Several that answer side by side.",
    )


class MessageInput(_AnswerersInput):
    """Something to say."""

    text = serializers.CharField(
        max_length=MESSAGE_CHARS_MAX, trim_whitespace=False, allow_blank=True, help_text="May be empty with files."
    )
    attachments = serializers.ListField(
        child=serializers.UUIDField(),
        max_length=ATTACHMENTS_PER_MESSAGE_MAX,
        required=False,
        help_text="Files of the caller's own, uploaded before.",
    )
    parent = serializers.UUIDField(  # type: ignore[assignment]
        required=False, help_text="The message that it follows; else the end of the branch that the caller reads."
    )
    cid = serializers.CharField(
        max_length=CID_CHARS_MAX,
        required=False,
        help_text="The client's id for this message: sending it again writes nothing twice.",
    )
    generate = serializers.BooleanField(default=True, help_text="Whether a model answers.")


class EditInput(StrictSerializer):
    """The new text of a message."""

    text = serializers.CharField(max_length=MESSAGE_CHARS_MAX, trim_whitespace=False)


class BranchInput(_AnswerersInput):
    """Another text in place of a message: a message beside it."""

    text = serializers.CharField(max_length=MESSAGE_CHARS_MAX, trim_whitespace=False)
    generate = serializers.BooleanField(default=True, help_text="Whether a model answers.")


class StartInput(_AnswerersInput):
    """Who is to answer a message."""


class RegenerateInput(StrictSerializer):
    """Who is to answer once more."""

    model = serializers.CharField(
        max_length=ALIAS_CHARS_MAX, required=False, help_text="Else the one that answered before."
    )


class ReactionInput(StrictSerializer):
    """An emoji to put under a message, or to take away."""

    emoji = serializers.CharField(max_length=EMOJI_CHARS_MAX)
    remove = serializers.BooleanField(default=False)


class ChosenBranchInput(StrictSerializer):
    """The branch to read."""

    message = serializers.UUIDField(allow_null=True, help_text="Any message of it; null: the newest.")


class RoomMemberInput(StrictSerializer):
    """Whom to let in."""

    member = serializers.UUIDField(help_text="A membership's id.")
    role = serializers.ChoiceField(ROLES, required=False, default="member")


class RoomRoleInput(StrictSerializer):
    """Another role in a room."""

    role = serializers.ChoiceField(ROLES)


class OwnPlaceInput(StrictSerializer):
    """How the caller has a room in their own list; what is left out stays."""

    pinned = serializers.BooleanField(required=False)
    muted = serializers.BooleanField(required=False)
    folder = serializers.CharField(max_length=FOLDER_CHARS_MAX, required=False, allow_blank=True)
    seen = serializers.IntegerField(
        min_value=0,
        max_value=2**53 - 1,
        required=False,
        help_text="How far they have read: a `seq`. It never goes back.",
    )


class RoomFilterInput(StrictSerializer):
    """Which of one's rooms to list."""

    archived = serializers.BooleanField(required=False, default=False)
    pinned = serializers.BooleanField(required=False)
    folder = serializers.CharField(max_length=FOLDER_CHARS_MAX, required=False, allow_blank=True)
    kind = serializers.ChoiceField(KINDS, required=False)
