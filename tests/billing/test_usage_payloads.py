"""Every adapter's usage payloads, as its vendor writes them or as no vendor should: the right meters, the right price, and
nothing absurd on the bill.

The payloads are data: `fixtures/usage/`, a file per provider. Each goes through the adapter's own reader twice, in a whole answer
and in a stream, and through the attempt that the pipeline bills. `expected` null means that the report counts as none: the tokens
are then estimated, and flagged; `read` is what a stream said at its start that it had read, which then holds."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from billing.tiers import tariffs_of
from billing.types import METERS, Tariff
from providers.adapters.anthropic.answer_in import EventReader as AnthropicReader
from providers.adapters.anthropic.answer_in import parse_answer as parse_anthropic
from providers.adapters.cohere.answer_in import EventReader as CohereReader
from providers.adapters.cohere.answer_in import parse_answer as parse_cohere
from providers.adapters.fake import FakeAdapter
from providers.adapters.gemini.answer_in import FrameReader
from providers.adapters.gemini.answer_in import parse_answer as parse_gemini
from providers.adapters.ollama.answer_in import LineReader
from providers.adapters.ollama.answer_in import parse_answer as parse_ollama
from providers.adapters.openai.answer_in import ChunkReader
from providers.adapters.openai.answer_in import parse_answer as parse_openai
from providers.assemble import events_of
from providers.base import Target
from providers.meters import charge_of, tokens_of
from providers.pipeline.attempt import Attempt
from providers.types import ChatAnswer, ChatRequest, Message, StreamEvent, TextPart, Usage
from tests.providers.conftest import candidate, job

pytestmark = pytest.mark.no_database

FOLDER = Path(__file__).parent / "fixtures" / "usage"
OPENAI_LIKE = (
    "openai",
    "azure",
    "openai-compatible",
    "openrouter",
    "together",
    "groq",
    "deepseek",
    "mistral",
    "llama.cpp",
)
QUESTION, ANSWER = "Name a colour.", "Blue, like the sky."
MOST_ESTIMATED = 40
"""Tokens: no estimate of so short a question and answer may be more."""


@dataclass(frozen=True)
class Case:
    """A payload of one provider. `usage` is JSON text, as it came."""

    provider: str
    model: str
    name: str
    usage: bytes
    beside: dict[str, Any]
    prices: dict[str, dict[str, int]]
    expected: dict[str, int] | None
    service: str
    cost_nano: int | None
    read: int | None

    @property
    def tariff(self) -> Tariff:
        rows = [
            {
                "model": self.model,
                "meter": meter,
                "tier": tier,
                "id": uuid.uuid4(),
                "cost_nano_per_mtok": cost,
                "sell_nano_per_mtok": cost,
            }
            for tier, by_meter in self.prices.items()
            for meter, cost in by_meter.items()
        ]
        return tariffs_of(rows)[self.model]


def load() -> Iterator[Case]:
    for path in sorted(FOLDER.glob("*.json")):
        file = json.loads(path.read_text())
        for one in file["fixtures"]:
            yield Case(
                provider=file["provider"],
                model=file["model"],
                name=one["name"],
                usage=(one["raw"] if "raw" in one else json.dumps(one["usage"])).encode(),
                beside=one.get("beside", {}),
                prices=file["prices_nano_per_mtok"],
                expected=one["expected"],
                service=one.get("service", "standard"),
                cost_nano=one.get("cost_nano"),
                read=one.get("read"),
            )


CASES = tuple(load())


def filled(template: dict[str, Any], case: Case) -> bytes:
    """JSON in which the payload stands for `"USAGE"`, byte for byte."""
    return json.dumps({**template, **case.beside}).encode().replace(b'"USAGE"', case.usage)


def openai_whole(case: Case) -> ChatAnswer:
    choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
    return parse_openai(filled({"model": case.model, "choices": [choice], "usage": "USAGE"}, case))


def openai_stream(case: Case) -> Iterator[StreamEvent]:
    reader = ChunkReader(choices=1)
    said = {"index": 0, "delta": {"content": ANSWER}, "finish_reason": None}
    ended = {"index": 0, "delta": {}, "finish_reason": "stop"}
    yield from reader.read(json.dumps({"model": case.model, "choices": [said], "usage": None}).encode())
    yield from reader.read(json.dumps({"model": case.model, "choices": [ended]}).encode())
    yield from reader.read(filled({"model": case.model, "choices": [], "usage": "USAGE"}, case))
    yield from reader.read(b"[DONE]")
    yield reader.end()


def anthropic_whole(case: Case) -> ChatAnswer:
    text = {"type": "text", "text": ANSWER}
    message = {"type": "message", "model": case.model, "content": [text], "stop_reason": "end_turn", "usage": "USAGE"}
    return parse_anthropic(filled(message, case))


def anthropic_stream(case: Case) -> Iterator[StreamEvent]:
    reader = AnthropicReader()
    message = {"type": "message", "model": case.model, "content": [], "stop_reason": None, "usage": "USAGE"}
    delta = {"type": "text_delta", "text": ANSWER}
    for event in (
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": "USAGE"},
        {"type": "message_stop"},
    ):
        yield from reader.read(filled(event, case))
    yield reader.end()


def gemini_frame(case: Case) -> bytes:
    content = {"role": "model", "parts": [{"text": ANSWER}]}
    candidates = [{"index": 0, "content": content, "finishReason": "STOP"}]
    return filled({"candidates": candidates, "modelVersion": case.model, "usageMetadata": "USAGE"}, case)


def gemini_stream(case: Case) -> Iterator[StreamEvent]:
    reader = FrameReader(candidates=1)
    yield from reader.read(gemini_frame(case))
    yield reader.end()


def cohere_whole(case: Case) -> ChatAnswer:
    message = {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]}
    body = {"id": "1", "finish_reason": "COMPLETE", "message": message, "usage": "USAGE"}
    return parse_cohere(filled(body, case), model=case.model)


def cohere_stream(case: Case) -> Iterator[StreamEvent]:
    reader = CohereReader(model=case.model)
    said = {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": ANSWER}}}}
    yield from reader.read(json.dumps(said).encode())
    ended = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": "USAGE"}}
    yield from reader.read(filled(ended, case))
    yield reader.end()


def ollama_line(case: Case, text: str) -> bytes:
    line = {"model": case.model, "message": {"role": "assistant", "content": text}, "done": True, "done_reason": "stop"}
    return json.dumps({**line, **json.loads(case.usage)}).encode()


def ollama_stream(case: Case) -> Iterator[StreamEvent]:
    reader = LineReader()
    said = {"model": case.model, "message": {"role": "assistant", "content": ANSWER}, "done": False}
    yield from reader.read(json.dumps(said).encode())
    yield from reader.read(ollama_line(case, ""))
    yield reader.end()


def whole(case: Case) -> Iterator[StreamEvent]:
    match case.provider:
        case "anthropic":
            return events_of(anthropic_whole(case))
        case "gemini":
            return events_of(parse_gemini(gemini_frame(case)))
        case "cohere":
            return events_of(cohere_whole(case))
        case "ollama":
            return events_of(parse_ollama(ollama_line(case, ANSWER)))
        case _:
            return events_of(openai_whole(case))


def streamed(case: Case) -> Iterator[StreamEvent]:
    match case.provider:
        case "anthropic":
            return anthropic_stream(case)
        case "gemini":
            return gemini_stream(case)
        case "cohere":
            return cohere_stream(case)
        case "ollama":
            return ollama_stream(case)
        case _:
            return openai_stream(case)


async def billed(case: Case, events: Iterator[StreamEvent]) -> tuple[Usage, bool]:
    """The usage that the pipeline would bill, and whether it is flagged as an estimate."""
    goes_to = candidate(FakeAdapter(), target=Target(case.provider, "fake://", case.model))
    asked = job(goes_to, request=ChatRequest(case.model, (Message("user", (TextPart(QUESTION),)),)))
    attempt = Attempt(1, goes_to)
    for event in events:
        attempt.saw(event)
    assert attempt.answer().text == ANSWER
    await attempt.count(asked)
    outcome = attempt.outcome(asked, "complete")
    return outcome.usage, outcome.estimated


@cache
def per_provider() -> dict[str, list[Case]]:
    return {provider: [case for case in CASES if case.provider == provider] for provider in {c.provider for c in CASES}}


async def check(case: Case, way: str) -> None:
    usage, estimated = await billed(case, whole(case) if way == "whole" else streamed(case))
    charged = charge_of(usage, case.tariff)
    if case.expected is None:
        assert estimated
        if case.read is not None and way == "streamed":
            assert usage.input == case.read
        else:
            assert 0 < usage.input <= MOST_ESTIMATED
        assert 0 < usage.output <= MOST_ESTIMATED
        assert usage.cache_read == usage.cache_write == usage.reasoning == 0
        dearest = max(case.prices["standard"].values())
        most = (case.read or MOST_ESTIMATED) + MOST_ESTIMATED
        assert 0 < charged.cost_nano <= most * dearest // 1_000_000 + 1
        return
    assert not estimated
    assert {line["meter"]: line["tokens"] for line in charged.lines} == case.expected
    assert (charged.cost_nano, usage.service) == (case.cost_nano, case.service)


@pytest.mark.parametrize("way", ["whole", "streamed"])
@pytest.mark.parametrize("provider", sorted({case.provider for case in CASES}))
async def test_a_report_is_billed_by_its_meters_or_not_believed(provider: str, way: str) -> None:
    wrong = []
    for case in per_provider()[provider]:
        try:
            await check(case, way)
        except AssertionError as error:
            wrong.append(f"{case.name}: {error}")
    assert not wrong, "\n".join(wrong)


def test_there_are_payloads_of_every_provider_that_reports() -> None:
    assert len(CASES) >= 200
    assert set(per_provider()) == {*OPENAI_LIKE, "anthropic", "gemini", "cohere", "ollama"}
    for provider, cases in per_provider().items():
        assert any(case.expected is None for case in cases), provider
        assert any(case.expected is not None for case in cases), provider


def test_every_meter_is_among_them() -> None:
    seen = {meter for case in CASES for meter in case.expected or ()}
    assert seen == {*METERS, "input_audio", "output_audio", "cache_write_1h"}


def test_a_pipelines_meters_are_those_of_the_bill() -> None:
    usage = Usage(1, 2, 3, 4, 5, cache_write_1h=2, input_audio=1, output_audio=3)
    assert tokens_of(usage).by_meter() == dict(zip(METERS, (1, 2, 3, 4, 5), strict=True))
