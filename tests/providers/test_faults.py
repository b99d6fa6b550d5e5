"""Everything an upstream can do wrong becomes the right class of error, in time, and leaks no connection."""

import asyncio
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from providers.adapters.errors import retry_after
from providers.adapters.openai.adapter import OpenAICompatible
from providers.adapters.openai.errors import classify, classify_frame
from providers.base import Target, Timeouts
from providers.errors import (
    Misconfigured,
    ProviderError,
    QuotaExceeded,
    RateLimitedUpstream,
    Rejected,
    TooLong,
    Transient,
)
from providers.types import EmbeddingRequest, StreamEvent, TextDelta
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.script import FAULTS
from tests.providers.conftest import LONG, SHORT, ask, patience
from tests.providers.vendors import VENDORS, Vendor
from tests.support.patience import soon

pytestmark = pytest.mark.no_database

AT_ONCE: dict[str, tuple[type[ProviderError], str | None]] = {
    "401": (Misconfigured, None),
    "403": (Misconfigured, None),
    "404": (Misconfigured, None),
    "redirect": (Misconfigured, None),
    "429": (RateLimitedUpstream, None),
    "quota": (QuotaExceeded, None),
    "400": (Rejected, None),
    "too_long": (TooLong, None),
    "content_policy": (Rejected, None),
    "500": (Transient, "server"),
    "500_text": (Transient, "server"),
    "503": (Transient, "server"),
    "status": (Transient, "server"),
    "error_body": (Transient, "server"),
    "garbage_body": (Transient, "garbage"),
    "cut_before_headers": (Transient, "cut"),
    "hang_before_headers": (Transient, "timeout"),
    "hang_before_first_token": (Transient, "timeout"),
}
MIDWAY: dict[str, str] = {
    "hang": "timeout",
    "cut": "cut",
    "end": "cut",
    "garbage": "garbage",
    "error_frame": "server",
    "huge_frame": "garbage",
}


def test_every_fault_of_the_fakes_is_tried_here() -> None:
    assert {*AT_ONCE, *MIDWAY} == set(FAULTS)


both_ways = pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])


@both_ways
@pytest.mark.parametrize("fault", AT_ONCE)
async def test_a_fault_instead_of_an_answer(vendor: Vendor, fault: str, stream: bool) -> None:
    vendor.upstream.script(fault=fault, retry_after=2.5, status=599)
    timeouts = patience(fault)
    began = time.monotonic()
    with pytest.raises(ProviderError) as failed:
        await vendor.answer(ask(stream=stream), stream=stream, timeouts=timeouts)
    assert time.monotonic() - began < timeouts.total_s + 1
    kind, cause = AT_ONCE[fault]
    assert type(failed.value) is kind
    assert getattr(failed.value, "cause", None) == cause
    if isinstance(failed.value, RateLimitedUpstream):
        assert failed.value.retry_after_s == 2.5


@pytest.mark.parametrize("fault", MIDWAY)
async def test_a_fault_in_mid_stream_comes_after_the_text_that_was_sent(vendor: Vendor, fault: str) -> None:
    vendor.upstream.script(text="0123456789", chunk=2, fault=fault, fault_after=3)
    timeouts = replace(LONG, between_tokens_s=0.5) if fault == "hang" else LONG
    text = ""

    async def read() -> None:
        nonlocal text
        async for event in vendor.adapter.stream(ask(), vendor.target, timeouts):
            text += event.text if isinstance(event, TextDelta) else ""

    with pytest.raises(Transient) as failed:
        await read()
    assert failed.value.cause == MIDWAY[fault]
    assert failed.value.worked or fault == "error_frame"
    assert text == "012345" == vendor.upstream.records[0].text


async def test_a_stream_that_was_read_leaves_nothing_for_the_event_loop_to_end(vendor: Vendor) -> None:
    """A generator that is left before its end becomes a task when it is let go of, and a request has several."""
    vendor.upstream.script(text="0123456789", chunk=2)
    left: list[object] = []
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(finalizer=left.append)
    try:
        assert any(isinstance(event, TextDelta) for event in await vendor.events(ask()))
    finally:
        sys.set_asyncgen_hooks(*hooks)
    assert left == []


@pytest.mark.parametrize("fault", ["cut", "hang"])
async def test_a_plain_answer_that_is_cut_or_never_comes(vendor: Vendor, fault: str) -> None:
    vendor.upstream.script(fault=fault)
    with pytest.raises(Transient) as failed:
        await vendor.answer(ask(stream=False), stream=False, timeouts=patience(fault))
    assert failed.value.cause == ("cut" if fault == "cut" else "timeout")


@pytest.mark.parametrize("vendor", sorted({*VENDORS} - {"anthropic"}), indirect=True)
@pytest.mark.parametrize("fault", ["429", "quota", "401", "500", "garbage_body", "hang_before_headers", "cut"])
async def test_embeddings_fail_as_chats_do(vendor: Vendor, fault: str) -> None:
    vendor.upstream.script(fault=fault)
    with pytest.raises(ProviderError) as failed:
        await vendor.adapter.embed(EmbeddingRequest("alias", ("a",)), vendor.target, patience(fault))
    kind, cause = {**AT_ONCE, "cut": (Transient, "cut")}[fault]
    assert type(failed.value) is kind
    assert getattr(failed.value, "cause", None) == cause


async def _streamed(adapter: OpenAICompatible, target: Target, timeouts: Timeouts = LONG) -> list[StreamEvent]:
    return [event async for event in adapter.stream(ask(), target, timeouts)]


async def _fails(
    adapter: OpenAICompatible, target: Target, *, stream: bool, timeouts: Timeouts = LONG
) -> ProviderError:
    began = time.monotonic()
    with pytest.raises(ProviderError) as failed:
        await (
            _streamed(adapter, target, timeouts) if stream else adapter.complete(ask(stream=False), target, timeouts)
        )
    assert time.monotonic() - began < timeouts.total_s + 1
    return failed.value


@pytest.mark.parametrize(
    ("timeouts", "script"),
    [
        (Timeouts(first_token_s=0.1, between_tokens_s=60, total_s=60), {"fault": "hang_before_first_token"}),
        (Timeouts(first_token_s=60, between_tokens_s=0.1, total_s=60), {"fault": "hang", "fault_after": 1}),
        (Timeouts(first_token_s=60, between_tokens_s=60, total_s=0.2), {"text": "x" * 400, "delay_ms": 10}),
        (Timeouts(first_token_s=0.1, between_tokens_s=60, total_s=60), {"first_delay_ms": 5000}),
    ],
    ids=["first token", "between tokens", "total", "first token after a role"],
)
async def test_each_time_out_is_kept(
    adapter: OpenAICompatible,
    target: Target,
    upstream: OpenAIUpstream,
    timeouts: Timeouts,
    script: dict[str, Any],
) -> None:
    upstream.script(**script)
    async with soon():
        with pytest.raises(Transient) as failed:
            await _streamed(adapter, target, timeouts)
    assert failed.value.cause == "timeout"


async def test_a_slow_consumer_is_not_held_against_the_upstream(
    adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream
) -> None:
    upstream.script(text="0123456789", chunk=1)
    timeouts = Timeouts(first_token_s=5, between_tokens_s=0.3, total_s=5)
    text = ""
    async for event in adapter.stream(ask(), target, timeouts):
        if not text:
            await asyncio.sleep(1.5 * timeouts.between_tokens_s)
        text += event.text if isinstance(event, TextDelta) else ""
    assert text == "0123456789"


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, but not listening: connections are refused
        yield held.getsockname()[1]


@both_ways
async def test_nothing_listens(adapter: OpenAICompatible, closed_port: int, stream: bool) -> None:
    error = await _fails(adapter, Target("x", f"http://127.0.0.1:{closed_port}/v1", "m"), stream=stream)
    assert isinstance(error, Transient)
    assert (error.cause, error.worked) == ("connect", False)
    assert str(closed_port) not in str(error)


async def test_nothing_ever_accepts(adapter: OpenAICompatible) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        queued = [socket.socket() for _ in range(4)]
        try:
            for client in queued:
                client.setblocking(False)
                client.connect_ex(address)
            error = await _fails(
                adapter, Target("x", f"http://127.0.0.1:{address[1]}/v1", "m"), stream=True, timeouts=SHORT
            )
        finally:
            for client in queued:
                client.close()
    assert isinstance(error, Transient)
    assert error.cause in ("connect", "timeout")


async def test_an_address_that_is_none(adapter: OpenAICompatible) -> None:
    assert type(await _fails(adapter, Target("x", "not a url", "m"), stream=True)) is Misconfigured


async def test_a_key_that_no_header_can_hold_is_not_sent(adapter: OpenAICompatible, upstream: OpenAIUpstream) -> None:
    target = Target("x", upstream.base_url, "m", secret="sk-with\r\nX-Injected: 1")
    error = await _fails(adapter, target, stream=True)
    assert type(error) is Misconfigured
    assert "sk-with" not in str(error)
    assert upstream.records == []


# --- classification by itself


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, '{"error":{"message":"prompt is too long: 9 tokens > 8"}}', TooLong),
        (400, '{"error":{"type":"exceed_context_size_error","message":"x","code":400}}', TooLong),
        (402, '{"error":{"message":"Insufficient credits","code":402}}', QuotaExceeded),
        (403, '{"error":{"message":"Your input was flagged","code":403}}', Rejected),
        (403, "", Misconfigured),
        (404, '{"detail":"Not Found"}', Misconfigured),
        (408, "", Transient),
        (413, "", Rejected),
        (422, '{"detail":[{"loc":["body"]}]}', Rejected),
        (429, '{"error":{"message":"You exceeded your current quota"}}', QuotaExceeded),
        (429, '[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}]', QuotaExceeded),
        (429, "slow down", RateLimitedUpstream),
        (529, '{"error":"Overloaded"}', Transient),
        (400, '{"message":"bad","code":"invalid_api_key"}', Misconfigured),
        (500, "[" * 50_000, Transient),
        (302, "", Misconfigured),
    ],
)
def test_what_a_status_and_a_body_mean(status: int, body: str, kind: type[ProviderError]) -> None:
    error = classify(status=status, headers={}, body=body.encode())
    assert type(error) is kind
    assert error.status == status
    assert error.moves_on is (kind is not Rejected)


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ('{"error":{"message":"x","code":429}}', RateLimitedUpstream),
        ('{"error":{"message":"x","code":"context_length_exceeded"}}', TooLong),
        ('{"error":{"message":"x"}}', Transient),
        ('{"error":"broken"}', Transient),
        ('{"error":{"message":"x","code":502}}', Transient),
    ],
)
def test_what_an_error_under_a_200_means(frame: str, kind: type[ProviderError]) -> None:
    assert type(classify_frame(frame.encode())) is kind


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "120", "retry-after": "7"}, 0.12),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers) == expected


def test_a_wait_is_bounded() -> None:
    error = classify(status=429, headers={"retry-after": "999999999"}, body=b"")
    assert isinstance(error, RateLimitedUpstream)
    assert error.retry_after_s == 3600
