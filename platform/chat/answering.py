"""The seam between rooms and the completion pipeline: what a generation asks for, and what it gets.

`bind` gives the process its implementation, once, at start; tests bind a fake.
"""

import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal, Protocol

import msgspec

from chat.shapes import Usage
from kernel.errors import Unavailable
from tenants.principals import Principal


class Turn(msgspec.Struct, frozen=True):
    """Something said earlier in the room."""

    role: Literal["user", "assistant"]
    text: str


class Question(msgspec.Struct, frozen=True):
    """What a model is asked, by whom, and what for. The principal pays."""

    principal: Principal
    request_id: uuid.UUID
    generation_id: uuid.UUID
    room_id: uuid.UUID
    room_title: str
    alias: str
    instructions: str
    turns: tuple[Turn, ...]


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

    def pieces(self) -> AsyncIterator[str]:
        """Begin, and give the text as it comes. Raises the `ParleyError` that the answer failed with."""
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
    text: str


class Answering(Protocol):
    """How questions are answered."""

    async def choose_model(self, *, principal: Principal, alias: str | None) -> str:
        """The alias that will answer: the one given, if this principal may use it, else a default.

        Raises `NotFound` (model_not_found) when there is none.
        """
        ...

    async def context_tokens(self, *, principal: Principal, alias: str) -> int | None:
        """How much the model reads at most, where that is known."""
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
