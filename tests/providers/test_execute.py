"""Fallback is invisible before the first content, and there is none after it."""

import pytest

from kernel.errors import InvalidRequest, ParleyError, RateLimited, UpstreamFailed, UpstreamTimeout
from providers.adapters.fake import FakeAdapter, Script
from providers.adapters.openai.adapter import OpenAICompatible
from providers.base import Target
from providers.errors import (
    ContextTooLong,
    Failure,
    Misconfigured,
    ProviderError,
    QuotaExceeded,
    RateLimitedUpstream,
    Rejected,
    RequestRejected,
    TooLong,
    Transient,
    Unsupported,
    UpstreamUnusable,
    caller_error,
)
from providers.pipeline.execute import Execution
from providers.pipeline.values import Job
from providers.types import NO_USAGE, Finished, Started, StreamEvent, TextDelta
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.providers.conftest import ONCE, ask, candidate, job

pytestmark = pytest.mark.no_database

MOVES_ON: list[ProviderError] = [
    QuotaExceeded(status=429),
    RateLimitedUpstream(retry_after_s=3, status=429),
    Transient(cause="connect"),
    Transient(cause="server", status=500),
    Transient(cause="timeout"),
    Transient(cause="cut"),
    Transient(cause="garbage"),
    Misconfigured(status=401),
    TooLong(status=400),
]


async def _run(execution: Execution) -> list[StreamEvent]:
    return [event async for came in execution.events() for event in came]


def _route(error: ProviderError, *, after: int = 0, stream: bool = True) -> tuple[FakeAdapter, Job]:
    fake = FakeAdapter({"bad": Script(text="bad answer", fault=error, fault_after=after), "good": Script("good")})
    candidates = [candidate(fake, name=name, model=name) for name in ("bad", "good")]
    return fake, job(*candidates, request=ask(stream=stream))


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("error", MOVES_ON, ids=repr)
async def test_the_next_takes_over_unseen(error: ProviderError, stream: bool) -> None:
    fake, work = _route(error, stream=stream)
    execution = Execution(work, retries=ONCE)
    events = await _run(execution)
    assert events[0] == Started("good")
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "good"
    assert [target.model for _, target in fake.calls] == ["bad", "good"]
    first, second = execution.outcomes("complete")
    assert (first.status, first.visible, first.error) == ("failed", False, error)
    assert (second.status, second.visible, second.error) == ("complete", True, None)
    assert first.estimated is error.worked
    assert (first.usage == NO_USAGE) is not error.worked
    assert fake.open_streams == 0


@pytest.mark.parametrize("fault", ["cut", "hang", "garbage", "error_frame", "end"])
async def test_the_next_takes_over_from_one_that_began_but_said_nothing(
    adapter: OpenAICompatible, upstream: OpenAIUpstream, fault: str
) -> None:
    upstream.script(fault=fault, fault_after=0, model="bad")
    upstream.script(text="Fine.", model="good")
    route = [candidate(adapter, name=name, target=Target("x", upstream.base_url, name)) for name in ("bad", "good")]
    events = await _run(Execution(job(*route), retries=ONCE))
    assert [event for event in events if isinstance(event, Started)] == [Started("good")]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Fine."


async def test_to_leave_early_lets_go_of_the_upstream_at_once() -> None:
    fake = FakeAdapter({"echo": Script("Hello", piece_chars=1)})
    events = Execution(job(candidate(fake))).events()
    await anext(events)
    assert fake.open_streams == 1
    await events.aclose()
    assert fake.open_streams == 0


async def test_what_was_rejected_is_not_tried_elsewhere() -> None:
    fake, work = _route(Rejected("No such thing.", status=400, param="messages"))
    with pytest.raises(RequestRejected, match="No such thing") as refused:
        await _run(Execution(work))
    assert refused.value.status == 400
    assert refused.value.details is not None
    assert refused.value.details["param"] == "messages"
    assert [target.model for _, target in fake.calls] == ["bad"]


@pytest.mark.parametrize("error", MOVES_ON, ids=repr)
async def test_nothing_takes_over_after_the_first_content(error: ProviderError) -> None:
    fake, work = _route(error, after=1)
    execution = Execution(work)
    seen: list[StreamEvent] = []

    async def read() -> None:
        async for came in execution.events():
            seen.extend(came)

    with pytest.raises(ParleyError):
        await read()
    assert seen == [Started("bad"), TextDelta("bad answ")]
    assert len(fake.calls) == 1
    (only,) = execution.outcomes("failed")
    assert (only.status, only.visible, only.estimated) == ("failed", True, True)
    assert only.usage.output == 2


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([Transient(cause="timeout")], UpstreamTimeout),
        ([Transient(cause="timeout"), Transient(cause="connect")], UpstreamFailed),
        ([Misconfigured(status=401)], UpstreamUnusable),
        ([QuotaExceeded(status=429), Misconfigured(status=404)], UpstreamUnusable),
        ([QuotaExceeded(status=429), Transient(cause="cut")], UpstreamFailed),
        ([RateLimitedUpstream(retry_after_s=9), RateLimitedUpstream(retry_after_s=2.1)], RateLimited),
        ([RateLimitedUpstream(), Transient(cause="server")], UpstreamFailed),
        ([TooLong("Too much."), TooLong("Too much.")], ContextTooLong),
        ([TooLong("Too much."), Unsupported(param="seed")], ContextTooLong),
        ([TooLong(), Transient(cause="server")], UpstreamFailed),
        ([Transient(cause="server"), Rejected("No.")], InvalidRequest),
        ([], UpstreamFailed),
    ],
)
def test_the_caller_gets_one_error_that_lists_every_attempt(
    errors: list[ProviderError], kind: type[ParleyError]
) -> None:
    failures = [Failure("openai", f"deployment-{number}", error) for number, error in enumerate(errors)]
    error = caller_error(failures)
    assert type(error) is kind or (kind is InvalidRequest and isinstance(error, kind))
    assert (error.headers.get("x-should-retry") == "false") is (kind is UpstreamUnusable)
    assert error.status != 401
    assert error.details is not None
    assert [attempt["deployment"] for attempt in error.details["attempts"]] == [one.name for one in failures]
    assert [attempt["class"] for attempt in error.details["attempts"]] == [one.error.code for one in failures]
    if isinstance(error, RateLimited):
        assert error.retry_after_s == 3


@pytest.mark.parametrize("kind", [Misconfigured, QuotaExceeded, TooLong, Transient])
def test_the_words_of_a_provider_are_quoted_only_when_they_are_about_the_request(
    kind: type[ProviderError],
) -> None:
    words = "Incorrect API key provided: sk-secret"
    error = Transient(words, cause="server") if kind is Transient else kind(words)
    failed = caller_error([Failure("openai", "one", error)])
    assert (words in failed.message) is (kind is TooLong)
    assert words not in str(failed.details)


async def test_over_http_the_upstreams_401_reaches_nobody(adapter: OpenAICompatible, upstream: OpenAIUpstream) -> None:
    upstream.script(fault="401", model="bad")
    upstream.script(text="Fine.", model="good")
    candidates = [
        candidate(adapter, name=name, target=Target("x", upstream.base_url, name, secret="sk-up"))
        for name in ("bad", "good")
    ]
    events = await _run(Execution(job(*candidates)))
    assert isinstance(events[-1], Finished)
    with pytest.raises(UpstreamFailed) as failed:
        await _run(Execution(job(candidates[0])))
    assert failed.value.status == 502
    assert "sk-" not in failed.value.message + str(failed.value.details)


async def test_the_times_of_an_attempt_are_its_own() -> None:
    fake = FakeAdapter({"m": Script("abcdefghij", piece_chars=5)})
    execution = Execution(job(candidate(fake, model="m")))
    await _run(execution)
    (only,) = execution.outcomes("complete")
    assert only.ttft_ms is not None
    assert 0 <= only.ttft_ms <= only.latency_ms < 1000
    assert only.finish_reason == "stop"
    assert only.started_at.tzinfo is not None
