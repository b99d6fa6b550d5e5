"""A fake of `chat.answering`: answers that a test writes piece by piece."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from chat.answering import Answer, Ending, Orphan, Question
from chat.shapes import Usage
from kernel.errors import NotFound, ParleyError
from tenants.principals import Principal

MODELS = ("fake", "other")


class ScriptedAnswer:
    """An answer that says what it is told to, when it is told to."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.stopped = self.interrupted = False
        self.begun = asyncio.Event()
        self._ending: Ending | None = None
        self._queue: asyncio.Queue[str | ParleyError | None] = asyncio.Queue()

    @property
    def attempt(self) -> Mapping[str, Any]:
        return {"request": str(self.question.request_id)}

    async def pieces(self) -> AsyncIterator[str]:
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

    def say(self, *pieces: str) -> None:
        """Say something."""
        for piece in pieces:
            self._queue.put_nowait(piece)

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
        self._asked = asyncio.Event()

    async def choose_model(self, *, principal: Principal, alias: str | None) -> str:
        if alias is not None and alias not in MODELS:
            raise NotFound("There is no such model.")
        return alias or MODELS[0]

    async def context_tokens(self, *, principal: Principal, alias: str) -> int | None:
        return None

    async def begin(self, question: Question) -> Answer:
        if self.refusal is not None:
            raise self.refusal
        answer = self.answers[question.generation_id] = ScriptedAnswer(question)
        self._asked.set()
        return answer

    async def settle_orphan(self, orphan: Orphan) -> Ending:
        self.settled.append(orphan)
        return Ending(status="interrupted", usage=Usage(input=3, output=len(orphan.text)), cost_nano=7)

    async def answer_of(self, generation_id: uuid.UUID) -> ScriptedAnswer:
        """The answer of a generation, as soon as it is being written."""
        async with asyncio.timeout(5):
            while generation_id not in self.answers:
                self._asked.clear()
                await self._asked.wait()
            answer = self.answers[generation_id]
            await answer.begun.wait()
            return answer
