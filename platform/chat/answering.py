"""The seam between rooms and the completion pipeline: what a generation asks for, and what it gets.

`bind` gives the process its implementation, once, at start; tests bind a fake.
"""

import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, Protocol

import msgspec

from chat.parameters import PLAIN, Parameters
from chat.parts import Kind, Parts
from chat.shapes import Usage
from kernel.errors import Unavailable
from tenants.principals import Principal


class SeenFile(msgspec.Struct, frozen=True):
    """A file, as a model is given it: an `image` as a data URL, or `text`. `note` says why it isn't all there."""

    name: str
    text: str | None = None
    image: str | None = None
    note: str = ""


class Turn(msgspec.Struct, frozen=True):
    """Something said earlier in the room, with the files that came with it."""

    role: Literal["user", "assistant"]
    text: str
    files: tuple[SeenFile, ...] = ()


class Question(msgspec.Struct, frozen=True):
    """What a model is asked, by whom, and what for. The principal pays. What is asked `anew` no cache answers.

    `notes` are told after the `instructions`, before the turns.
    """

    principal: Principal
    request_id: uuid.UUID
    generation_id: uuid.UUID
    room_id: uuid.UUID
    room_title: str
    alias: str
    instructions: str
    turns: tuple[Turn, ...]
    anew: bool = False
    notes: tuple[str, ...] = ()
    parameters: Parameters = PLAIN


class Window(msgspec.Struct, frozen=True):
    """How many tokens a model takes at most, None where that isn't known, and how many of them its answer may be."""

    tokens: int | None
    answer_tokens: int


class Aside(msgspec.Struct, frozen=True):
    """A small question beside the conversation, such as for a title. The principal pays; it counts as the room's."""

    purpose: Literal["title", "summary"]
    principal: Principal
    room_id: uuid.UUID
    alias: str
    asked: str
    text: str
    max_tokens: int


class Said(msgspec.Struct, frozen=True):
    """What was answered to it, settled."""

    request_id: uuid.UUID
    alias: str
    text: str
    cost_nano: int | None


class Piece(msgspec.Struct, frozen=True):
    """A piece of an answer as it comes."""

    text: str
    kind: Kind = "text"


class Ending(msgspec.Struct, frozen=True):
    """How an answer ended, settled. `usage` is of all attempts, `cost_nano` what they were sold at; None where not known."""

    status: Literal["complete", "stopped", "failed", "interrupted"]
    usage: Usage | None = None
    cost_nano: int | None = None


class Answer(Protocol):
    """A question that was accepted. Its answer begins with `pieces`, and then goes on, and is settled, whether or not
    anybody reads on.
    """

    @property
    def attempt(self) -> Mapping[str, Any]:
        """What must be known to bill it if this process dies, to be stored first; JSON-serialisable."""
        ...

    def pieces(self) -> AsyncIterator[Piece]:
        """Begin, and give what it says as it comes. Raises the `ParleyError` that the answer failed with."""
        ...

    def stop(self) -> None:
        """End it here, because somebody asked. What came so far still arrives, then the pieces end."""
        ...

    def interrupt(self) -> None:
        """End it here, because the process goes down."""
        ...

    @property
    def ending(self) -> Ending | None:
        """How it ended, once the pieces have ended or failed; None when there is nothing to say."""
        ...


class Orphan(msgspec.Struct, frozen=True):
    """An answer whose process died: what it had been given to be billed by, and what it had written."""

    tenant_id: uuid.UUID
    request_id: uuid.UUID
    generation_id: uuid.UUID
    room_id: uuid.UUID
    membership_id: uuid.UUID
    alias: str
    attempt: Mapping[str, Any]
    parts: Parts


class Answering(Protocol):
    """How questions are answered."""

    async def choose_model(self, *, principal: Principal, alias: str | None) -> str:
        """The alias that will answer: the one given, if this principal may use it, else a default.

        Raises `NotFound` (model_not_found) when there is none.
        """
        ...

    async def helper_model(self, *, principal: Principal, purpose: Literal["title", "summary"], alias: str) -> str:
        """The alias that the tenant has chosen for a purpose, if the principal may use it, else the one given."""
        ...

    async def window(self, *, principal: Principal, alias: str) -> Window:
        """How much the model reads and writes."""
        ...

    def tokens_of(self, text: str) -> int:
        """An estimate of a message's tokens."""
        ...

    async def aside(self, aside: Aside) -> Said:
        """Ask it, and wait for the whole answer. Raises the `ParleyError` that it failed with."""
        ...

    async def sees_images(self, *, principal: Principal, alias: str) -> bool:
        """Whether the model can look at images, as far as that is known."""
        ...

    async def begin(self, question: Question) -> Answer:
        """Accept the question. Raises a `ParleyError` when it can't be."""
        ...

    async def settle_orphan(self, orphan: Orphan) -> Ending:
        """Bill what an orphan is estimated to have used. Idempotent by its request id, for ever."""
        ...


_bound: list[Answering] = []


def bind(implementation: Answering) -> None:
    """Let this process answer by `implementation`."""
    _bound[:] = [implementation]


def answering() -> Answering:
    """This process's implementation. Raises `Unavailable` where none was bound."""
    if not _bound:
        raise Unavailable("No model can answer at the moment.")
    return _bound[0]
