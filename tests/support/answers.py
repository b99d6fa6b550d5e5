"""A fake of `chat.answering`: answers that a test writes piece by piece."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from chat.answering import Answer, Aside, Ending, Orphan, Piece, Question, Said, Window
from chat.parts import Kind, length
from chat.shapes import Usage
from kernel.errors import NotFound, ParleyError
from tenants.principals import Principal
from tests.support.patience import soon

MODELS = ("fake", "other")


class ScriptedAnswer:
    """An answer that says what it is told to, when it is told to."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.stopped = self.interrupted = False
        self.begun = asyncio.Event()
        self._ending: Ending | None = None
        self._queue: asyncio.Queue[Piece | ParleyError | None] = asyncio.Queue()

    @property
    def attempt(self) -> Mapping[str, Any]:
        return {"request": str(self.question.request_id)}

    async def pieces(self) -> AsyncIterator[Piece]:
        self.begun.set()
        while True:
            said = await self._queue.get()
            if isinstance(said, ParleyError):
                raise said
            if said is None:
                break
            yield said
        status = "interrupted" if self.interrupted else "stopped" if self.stopped else "complete"
        self._ending = Ending(status=status, usage=Usage(input=3, output=5), cost_nano=13)

    def say(self, *pieces: str, kind: Kind = "text") -> None:
        """Say something."""
        for piece in pieces:
            self._queue.put_nowait(Piece(piece, kind=kind))

    def end(self) -> None:
        """Be done."""
        self._queue.put_nowait(None)

    def fail(self, error: ParleyError) -> None:
        """Fail."""
        self._queue.put_nowait(error)

    def stop(self) -> None:
        self.stopped = True
        self.end()

    def interrupt(self) -> None:
        self.interrupted = True
        self.end()

    @property
    def ending(self) -> Ending | None:
        return self._ending


class FakeAnswering:
    """Answers with `answers`, by room; a room's text is in its test's hands."""

    def __init__(self) -> None:
        self.answers: dict[uuid.UUID, ScriptedAnswer] = {}
        self.settled: list[Orphan] = []
        self.refusal: ParleyError | None = None
        self.window_tokens: int | None = None
        self.asides: list[Aside] = []
        self.aside_text: str | None = None
        self.titles: list[Aside] = []
        self.title_text: str | None = None
        self.sees = True
        self._asked = asyncio.Event()

    async def choose_model(self, *, principal: Principal, alias: str | None) -> str:
        if alias is not None and alias not in MODELS:
            raise NotFound("There is no such model.")
        return alias or MODELS[0]

    async def helper_model(self, *, principal: Principal, purpose: str, alias: str) -> str:
        return alias

    async def window(self, *, principal: Principal, alias: str) -> Window:
        return Window(tokens=self.window_tokens, answer_tokens=4_096)

    def tokens_of(self, text: str) -> int:
        return len(text)

    async def aside(self, aside: Aside) -> Said:
        if aside.purpose == "title":
            self.titles.append(aside)
            if self.title_text is None:
                raise NotFound("Nobody names rooms.")
            return Said(request_id=uuid.uuid4(), alias=aside.alias, text=self.title_text, cost_nano=1)
        self.asides.append(aside)
        if self.refusal is not None or self.aside_text is None:
            raise self.refusal or NotFound("Nobody answers that.")
        return Said(request_id=uuid.uuid4(), alias=aside.alias, text=self.aside_text, cost_nano=11)

    async def sees_images(self, *, principal: Principal, alias: str) -> bool:
        return self.sees

    async def begin(self, question: Question) -> Answer:
        if self.refusal is not None:
            raise self.refusal
        answer = self.answers[question.generation_id] = ScriptedAnswer(question)
        self._asked.set()
        return answer

    async def settle_orphan(self, orphan: Orphan) -> Ending:
        self.settled.append(orphan)
        return Ending(status="interrupted", usage=Usage(input=3, output=length(orphan.parts)), cost_nano=7)

    async def answer_of(self, generation_id: uuid.UUID) -> ScriptedAnswer:
        """The answer of a generation, as soon as it is being written."""
        async with soon():
            while generation_id not in self.answers:
                self._asked.clear()
                await self._asked.wait()
            answer = self.answers[generation_id]
            await answer.begun.wait()
            return answer
