"""The values that travel between callers, the pipeline and the adapters.

They say what is asked of a model and what it answers, in no vendor's words. They are frozen, carry no ids,
and compare by content. What a vendor's format says beyond them travels in `Extras`."""

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Raw

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
ToolMode = Literal["none", "auto", "required"]


class Extras(msgspec.Struct, frozen=True):
    """What one wire format says beyond the value that carries this, as raw JSON.

    An overlay on the object the value becomes in that same format: keys the value doesn't hold are added; an
    object under a key it does hold is merged into it. Other formats never see it."""

    wire_format: str
    fields: Mapping[str, Raw]


class Opaque(msgspec.Struct, frozen=True, tag="opaque"):
    """A part, tool or choice that only its own wire format knows; `kind` is that format's name for it."""

    kind: str
    extras: Extras


# --- what is asked


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    text: str
    extras: Extras | None = None


class ImagePart(msgspec.Struct, frozen=True, tag="image"):
    """An image by `url`: https, or a data URL that holds it."""

    url: str
    detail: str | None = None
    extras: Extras | None = None


class ReasoningPart(msgspec.Struct, frozen=True, tag="reasoning"):
    """What a model thought in an earlier turn, given back to it. Formats that can't say it leave it out; the
    `extras` hold what its own format needs to believe it (a signature)."""

    text: str
    extras: Extras | None = None


Part = TextPart | ImagePart | ReasoningPart | Opaque


class ToolCall(msgspec.Struct, frozen=True, tag="call"):
    """A model's wish to call a function; `arguments` is the text the model wrote, JSON if it behaved."""

    id: str
    name: str
    arguments: str
    extras: Extras | None = None


class Message(msgspec.Struct, frozen=True):
    """One turn. `tool_call_id` names the call that a tool's message answers."""

    role: Role
    content: tuple[Part, ...] = ()
    name: str | None = None
    tool_calls: tuple[ToolCall | Opaque, ...] = ()
    tool_call_id: str | None = None
    extras: Extras | None = None

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text for part in self.content if isinstance(part, TextPart))


def user_message(text: str) -> Message:
    """What a person says, as a message of one text part."""
    return Message(role="user", content=(TextPart(text),))


class FunctionTool(msgspec.Struct, frozen=True, tag="function"):
    """A function the model may call; `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: Raw | None = None
    strict: bool | None = None
    extras: Extras | None = None


class ToolChoice(msgspec.Struct, frozen=True, tag="choice"):
    """Whether tools may or must be called; with `name`, exactly that one must."""

    mode: ToolMode = "auto"
    name: str | None = None


class ResponseFormat(msgspec.Struct, frozen=True, tag="format"):
    """The shape of the answer; `schema` (a JSON schema), `name`, `description` and `strict` belong to
    `json_schema`."""

    kind: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: Raw | None = None
    strict: bool | None = None
    extras: Extras | None = None


class ChatRequest(msgspec.Struct, frozen=True):
    """One completion to make. `None` means: not said, the model's default holds.

    `model` is the alias the caller used; the target says what the upstream calls it. `max_output_tokens`
    includes reasoning. `reasoning_budget` is in tokens. With `as_text` the one message is text to be continued
    rather than answered, up to `suffix` if there is one (the legacy completions of OpenAI). `written` is how many
    answers the upstream writes, where that are more than `n`: to each of several prompts, or to choose from. `include_usage`
    is the caller's wish to see usage in a stream; upstreams are always asked for it."""

    model: str
    messages: tuple[Message, ...]
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int = 1
    tools: tuple[FunctionTool | Opaque, ...] = ()
    tool_choice: ToolChoice | Opaque | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | Opaque | None = None
    reasoning_effort: str | None = None
    reasoning_budget: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    as_text: bool = False
    suffix: str | None = None
    written: int | None = None
    stream: bool = False
    include_usage: bool = False
    extras: Extras | None = None

    @property
    def answers(self) -> int:
        """How many answers are written, and paid for, each as long as the cap allows."""
        return self.written or self.n


class EmbeddingRequest(msgspec.Struct, frozen=True):
    """Texts, or lists of token numbers, to be turned into vectors of `dimensions` numbers (None: the model's own
    count). `as_base64` is the caller's wish for how to see them."""

    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    dimensions: int | None = None
    as_base64: bool = False
    extras: Extras | None = None

    @property
    def stream(self) -> bool:
        """Never: vectors come all at once."""
        return False


Request = ChatRequest | EmbeddingRequest


# --- what is answered


class Usage(msgspec.Struct, frozen=True):
    """Tokens by disjoint meters. `reported` is False when the upstream never said and they are an estimate,
    or none.

    `input` was neither read from nor written to the upstream's prompt cache; `output` excludes `reasoning`. What was
    written to the cache for an hour, heard and spoken is part of `cache_write`, `input` and `output`. `service` says how
    the upstream served the request where that has a price of its own (`billing.types.SERVICES`).
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    reported: bool = True
    cache_write_1h: int = 0
    input_audio: int = 0
    output_audio: int = 0
    service: str = "standard"

    @property
    def prompt(self) -> int:
        """All tokens read."""
        return self.input + self.cache_read + self.cache_write

    @property
    def completion(self) -> int:
        """All tokens written."""
        return self.output + self.reasoning


NO_USAGE = Usage(reported=False)


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The upstream began to answer, and names the model that does. `read` is what it says by then that it has read: of
    use if the answer is cut before its usage comes."""

    model: str
    extras: Extras | None = None
    read: "Usage | None" = None


class TextDelta(msgspec.Struct, frozen=True, tag="text"):
    """`text` is appended to the answer of choice `index`; `logprobs` are in the words of the upstream's
    format."""

    text: str
    index: int = 0
    logprobs: Raw | None = None


class ReasoningDelta(msgspec.Struct, frozen=True, tag="reasoning"):
    """`text` is appended to what the model thinks aloud; `extras` hold what its own format adds (a
    signature)."""

    text: str
    index: int = 0
    extras: Extras | None = None


class ToolCallDelta(msgspec.Struct, frozen=True, tag="tool_call"):
    """A piece of the tool call number `call` of choice `index`; `id` and `name` come with its first piece."""

    call: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None
    index: int = 0
    extras: Extras | None = None


class OpaqueDelta(msgspec.Struct, frozen=True, tag="opaque"):
    """Something in the answer that only its own wire format knows: refusals, annotations, audio."""

    extras: Extras
    index: int = 0


class Vectors(msgspec.Struct, frozen=True, tag="vectors"):
    """What texts were turned into, in their order: each little-endian float32."""

    vectors: tuple[bytes, ...]


class ChoiceFinished(msgspec.Struct, frozen=True, tag="choice_finished"):
    finish_reason: FinishReason
    index: int = 0


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The last event of an answer: `finish_reason` is that of choice 0."""

    finish_reason: FinishReason
    usage: Usage


StreamEvent = Started | TextDelta | ReasoningDelta | ToolCallDelta | OpaqueDelta | Vectors | ChoiceFinished | Finished
Content = TextDelta | ReasoningDelta | ToolCallDelta | OpaqueDelta | Vectors


def is_content(event: StreamEvent) -> bool:
    """Whether the caller would see something new, so that a fallback could no longer go unnoticed."""
    return isinstance(event, Content)


class AnswerChoice(msgspec.Struct, frozen=True):
    """One whole answer. `finish_reason` is None for one that was cut short.

    `pieces` are the same in the order in which they came, when that is another than thoughts, text, calls and the
    rest; see `assemble.in_order`."""

    index: int = 0
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason | None = None
    logprobs: Raw | None = None
    extras: Extras | None = None
    reasoning_extras: Extras | None = None
    pieces: tuple[Content, ...] = ()


class ChatAnswer(msgspec.Struct, frozen=True):
    """A whole answer; `model` is the upstream's name for what answered. To an `EmbeddingRequest` it has
    `vectors` and no choices."""

    model: str
    choices: tuple[AnswerChoice, ...]
    usage: Usage
    extras: Extras | None = None
    vectors: tuple[bytes, ...] = ()

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return self.choices[0].text if self.choices else ""


NO_ANSWER = ChatAnswer("", (), NO_USAGE)


class ModelInfo(msgspec.Struct, frozen=True):
    """A model that an upstream publishes."""

    id: str
    owned_by: str | None = None
