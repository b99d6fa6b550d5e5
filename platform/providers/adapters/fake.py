"""A provider without a network: it answers by script, as slowly and as wrongly as the script says.

It ships with the product, for tests, demonstrations and trying out routes: without a script it says what the
last message said. Everything about it is deterministic."""

import asyncio
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from providers.assemble import Assembler
from providers.base import ANY_FORMAT, Adapter, Target, Timeouts, in_time
from providers.errors import ProviderError
from providers.estimate import estimate_input, estimate_tokens
from providers.types import (
    ChatAnswer,
    ChatRequest,
    ChoiceFinished,
    EmbeddingRequest,
    Finished,
    FinishReason,
    ModelInfo,
    ReasoningDelta,
    Request,
    Started,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)

ECHO = "You said: "
VECTOR_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Script:
    """How to answer.

    `text` None echoes the last message. The text comes in pieces of `piece_chars` code points, each after
    `delay_s`, the first after `first_delay_s`. After `fault_after` pieces (0: before the answer starts)
    `fault` is raised, or with `hang` nothing ever comes. With `usage` None the usage is reported as estimated
    from the bytes; with `reports_usage` False none is."""

    text: str | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    piece_chars: int = 8
    first_delay_s: float = 0.0
    delay_s: float = 0.0
    fault: ProviderError | None = None
    hang: bool = False
    fault_after: int = 0
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    reports_usage: bool = True


ECHO_SCRIPT = Script()

Pace = Callable[[float], Awaitable[object]]


class FakeAdapter(Adapter):
    """Answers by the script of the target's model. `calls` and `open_streams` tell a test what happened to
    it.

    `pace` is awaited, with the script's delay in seconds, before every piece; a test may make it wait for
    something else than time."""

    wire_format: ClassVar[str] = ANY_FORMAT

    def __init__(self, scripts: Mapping[str, Script] | None = None, *, pace: Pace = asyncio.sleep) -> None:
        self.scripts = dict(scripts or {})
        self.calls: list[tuple[Request, Target]] = []
        self.open_streams = 0
        self._pace = pace

    def stream(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> AsyncGenerator[StreamEvent, None]:
        return in_time(self._events(request, target), timeouts)

    async def complete(self, request: ChatRequest, target: Target, timeouts: Timeouts) -> ChatAnswer:
        assembler = Assembler()
        whole = Timeouts(timeouts.connect_s, timeouts.total_s, timeouts.total_s, timeouts.total_s)
        async for event in self.stream(request, target, whole):
            assembler.add(event)
        return assembler.answer()

    async def embed(self, request: EmbeddingRequest, target: Target, timeouts: Timeouts) -> ChatAnswer:
        self.calls.append((request, target))
        dimensions = request.dimensions or VECTOR_DIMENSIONS
        vectors = tuple(_vector(item, dimensions) for item in request.inputs)
        return ChatAnswer(target.model, (), Usage(input=estimate_input(request)), vectors=vectors)

    async def list_models(self, target: Target, timeouts: Timeouts) -> tuple[ModelInfo, ...]:
        return tuple(ModelInfo(name, "fake") for name in self.scripts or ("echo",))

    async def _events(self, request: ChatRequest, target: Target) -> AsyncGenerator[StreamEvent, None]:
        script = self.scripts.get(target.model, ECHO_SCRIPT)
        self.calls.append((request, target))
        self.open_streams += 1
        try:
            text = ECHO + request.messages[-1].text if script.text is None else script.text
            pieces = [text[i : i + script.piece_chars] for i in range(0, len(text), script.piece_chars)]
            await self._fault(script, 0)
            yield Started(target.model)
            if script.reasoning:
                yield ReasoningDelta(script.reasoning)
            for number, piece in enumerate(pieces):
                await self._pace(script.delay_s if number else script.first_delay_s)
                yield TextDelta(piece)
                await self._fault(script, number + 1)
            for number, call in enumerate(script.tool_calls):
                yield ToolCallDelta(number, call.arguments, call.id, call.name)
            reason = script.finish_reason or ("tool_calls" if script.tool_calls else "stop")
            yield ChoiceFinished(reason)
            yield Finished(reason, _usage(script, request, text))
        finally:
            self.open_streams -= 1

    async def _fault(self, script: Script, emitted: int) -> None:
        if emitted != script.fault_after:
            return
        if script.hang:
            await asyncio.get_running_loop().create_future()
        if script.fault is not None:
            raise script.fault


def _vector(item: str | tuple[int, ...], dimensions: int) -> bytes:
    """A vector that is the same for the same input, and another for another: how often each byte of it falls on each
    dimension, by a polynomial."""
    counts = [0.0] * dimensions
    position = 0
    for byte in item.encode() if isinstance(item, str) else item:
        position = (position * 31 + byte + 1) % 1_000_003
        counts[position % dimensions] += 1.0
    return struct.pack(f"<{dimensions}f", *counts)


def _usage(script: Script, request: ChatRequest, text: str) -> Usage:
    if not script.reports_usage:
        return Usage(reported=False)
    return script.usage or Usage(
        input=estimate_input(request),
        output=estimate_tokens(len(text.encode())),
        reasoning=estimate_tokens(len(script.reasoning.encode())),
    )
