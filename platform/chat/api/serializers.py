"""What rooms answer over REST: `chat.shapes`, described for the schema. What is said to them is in `chat.api.inputs`."""

from typing import Any

from rest_framework import serializers

from chat.attachment_models import KINDS as FILE_KINDS
from chat.models import ENDED_STATUSES, IMPORTED_ROLES, LIVE_STATUSES, Feedback, Room, RoomMember
from kernel.api.serializers import page_of

ANSWERS = ["always", "mentioned"]
KINDS = list(Room.Kind.values)
ROLES = list(RoomMember.Role.values)


class RoomOutput(serializers.Serializer[Any]):
    """A room, as the caller sees it."""

    id = serializers.UUIDField()
    title = serializers.CharField()
    kind = serializers.ChoiceField(KINDS)
    model = serializers.CharField(allow_null=True, help_text="Alias; null: the default.")
    instructions = serializers.CharField(allow_blank=True)
    answers = serializers.ChoiceField(ANSWERS)
    titles = serializers.BooleanField()
    summaries = serializers.BooleanField()
    preset = serializers.UUIDField(allow_null=True, help_text="Holds for those who see it.")
    epoch = serializers.CharField(help_text="To be compared for equality only.")
    head_seq = serializers.IntegerField(help_text="The number of the last event.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    last_message_at = serializers.DateTimeField(allow_null=True)
    role = serializers.ChoiceField(ROLES, help_text="The caller's own.")
    seen_seq = serializers.IntegerField(help_text="How far the caller has read.")
    archived = serializers.BooleanField()
    retention_days = serializers.IntegerField(allow_null=True, help_text="null: as the tenant says.")
    pinned = serializers.BooleanField(help_text="By the caller, as the next two.")
    muted = serializers.BooleanField()
    folder = serializers.CharField(allow_blank=True)
    unread = serializers.IntegerField(help_text="Messages of others beyond that; counted up to 100.")


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

    kind = serializers.ChoiceField(["member", "model", "imported"])
    id = serializers.UUIDField(allow_null=True, help_text="The membership; null for all but members.")
    name = serializers.CharField()
    role = serializers.ChoiceField(
        list(IMPORTED_ROLES), required=False, help_text="Of somebody elsewhere, in a conversation that was imported."
    )


class PartOutput(serializers.Serializer[Any]):
    """A part of a message."""

    type = serializers.ChoiceField(["text", "reasoning", "tool_args", "file"])
    text = serializers.CharField(required=False, help_text="Of all but files.")
    attachment = serializers.UUIDField(required=False, help_text="Of a file, like what follows.")
    name = serializers.CharField(required=False)
    kind = serializers.CharField(required=False, help_text=", ".join(FILE_KINDS))
    media_type = serializers.CharField(required=False)
    size = serializers.IntegerField(required=False, help_text="bytes")
    width = serializers.IntegerField(required=False, allow_null=True, help_text="pixels")
    height = serializers.IntegerField(required=False, allow_null=True, help_text="pixels")
    pages = serializers.IntegerField(required=False, allow_null=True)
    text_chars = serializers.IntegerField(required=False, allow_null=True)


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


class SiblingsOutput(serializers.Serializer[Any]):
    """Where a message stands among those that follow the same one."""

    count = serializers.IntegerField()
    place = serializers.IntegerField(help_text="From 1, oldest first.")
    previous = serializers.UUIDField(allow_null=True)
    next = serializers.UUIDField(allow_null=True)


class ReactionOutput(serializers.Serializer[Any]):
    """An emoji under a message."""

    emoji = serializers.CharField()
    count = serializers.IntegerField()
    members = serializers.ListField(
        child=serializers.UUIDField(), help_text="The memberships of the first of those who chose it."
    )


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
    mentions = serializers.ListField(child=serializers.UUIDField(), help_text="The memberships that it names.")
    reactions = ReactionOutput(many=True)
    siblings = SiblingsOutput(
        allow_null=True, required=False, help_text="null: it has none. Told where a room is read, not in events."
    )
    feedback = serializers.ChoiceField(
        list(Feedback.Rating.values),
        allow_null=True,
        required=False,
        help_text="The caller's own, told as siblings are.",
    )


MessagePage = page_of(MessageOutput(many=True), "MessagePage")


class ContextOutput(serializers.Serializer[Any]):
    """What of its branch a model was not told word for word."""

    summary = serializers.UUIDField(allow_null=True, help_text="What stood for the oldest turns.")
    left_out = serializers.IntegerField(help_text="Turns that it was told nothing of.")


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
    anew = serializers.BooleanField(help_text="Asked once more: no cache answers it.")
    # What is passed to a serializer is called so, too; declared fields are taken out of the class.
    context = ContextOutput(allow_null=True)  # type: ignore[assignment]
    parts = PartOutput(many=True, required=False, help_text="What there is so far in its parts, where it is told.")


class SentOutput(serializers.Serializer[Any]):
    """A message that is in the room, and the answers to it that were begun."""

    message = MessageOutput()
    generation = GenerationOutput(allow_null=True, help_text="The first of them.")
    generations = GenerationOutput(many=True)


class StartedOutput(serializers.Serializer[Any]):
    """Answers that were begun."""

    generations = GenerationOutput(many=True)


class SummaryOutput(serializers.Serializer[Any]):
    """What a model made of the first turns of a branch; models are told it in their place."""

    id = serializers.UUIDField()
    room = serializers.UUIDField()
    until = serializers.UUIDField(help_text="The last message that it stands for.")
    covers = serializers.IntegerField(help_text="How many messages that is.")
    text = serializers.CharField()
    model = serializers.CharField()
    cost_nano = serializers.IntegerField(allow_null=True, help_text="nano-USD")
    created_at = serializers.DateTimeField()


class BranchOutput(serializers.Serializer[Any]):
    """The branch that the caller reads."""

    chosen = serializers.UUIDField(allow_null=True, help_text="What they chose; null: the newest.")
    leaf = serializers.UUIDField(allow_null=True, help_text="The message that it ends at now.")


class PresentOutput(serializers.Serializer[Any]):
    """A member who is there."""

    who = serializers.UUIDField(help_text="The membership.")
    state = serializers.ChoiceField(["online", "away"])


class SnapshotOutput(serializers.Serializer[Any]):
    """A room's state at `seq`."""

    room = RoomOutput()
    members = RoomMemberOutput(many=True)
    messages = MessageOutput(many=True, help_text="The latest of the caller's branch, oldest first.")
    has_more = serializers.BooleanField(help_text="Whether the branch has older messages.")
    generations = GenerationOutput(
        many=True,
        help_text="The answers being written, with their text so far, and those that ended without a message.",
    )
    epoch = serializers.CharField()
    seq = serializers.IntegerField()
    branch = BranchOutput()
    summary = SummaryOutput(allow_null=True, help_text="What models are told of the branch's beginning, if not all.")
    present = PresentOutput(many=True, help_text="Who is there now.")
