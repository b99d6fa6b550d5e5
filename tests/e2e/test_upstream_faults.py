"""Whatever the upstream does, the caller gets a clear error in time, and what was used is on the bill.

All calls are made at once, when the first test asks for one: some of them have to wait for a time-out. Each has a model of
its own, so that what one fault makes Parley think of a deployment is nothing to the others.
"""

import json
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2 as httpx
import openai
import pytest

from providers.pipeline.retry import RETRIES
from providers.vocabularies import UNKNOWN, count_tokens
from tests.e2e.conftest import BETWEEN_TOKENS_S, FIRST_TOKEN_S, MODEL, TOTAL_S
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.script import Record
from tests.support.stack import SOON_S, Stack, Tenant, eventually

pytestmark = pytest.mark.no_database

SLACK_S = 4.0
"""What a busy machine may add."""
RETRY_AFTER_S = 7
TRIES = RETRIES.tries

Mode = Literal["plain", "stream"]


@dataclass(frozen=True)
class Case:
    """A fault, and what the caller should get. `worked`: the upstream may have used something, which is billed. `tries` is
    how often it is tried at most: what may pass is tried again, as long as there is time until the first token is due."""

    fault: str
    status: int
    code: str
    within_s: float = 1.0
    modes: tuple[Mode, ...] = ("plain", "stream")
    retry: bool = True
    worked: bool = False
    tries: int = 1
    script: dict[str, Any] = field(default_factory=dict)

    def alias(self, mode: Mode) -> str:
        return f"fault-{self.fault}-{mode}"

    def prompt(self, mode: Mode, run: str) -> str:
        script = {"fault": self.fault, "text": f"{mode} {run} " + "so it goes " * 3, **self.script}
        return "!script " + json.dumps(script)


BEFORE = (
    Case("401", 502, "upstream_failed", retry=False),
    Case("403", 502, "upstream_failed", retry=False),
    Case("404", 502, "upstream_failed", retry=False),
    Case("redirect", 502, "upstream_failed", retry=False),
    Case("429", 429, "rate_limited", script={"retry_after": RETRY_AFTER_S}),
    Case("quota", 502, "upstream_failed", retry=False),
    Case("400", 400, "rejected_by_provider"),
    Case("too_long", 400, "context_length_exceeded"),
    Case("content_policy", 400, "rejected_by_provider"),
    Case("500", 502, "upstream_failed", tries=TRIES),
    Case("500_text", 502, "upstream_failed", tries=TRIES),
    Case("503", 502, "upstream_failed", tries=TRIES),
    Case("error_body", 502, "upstream_failed", tries=TRIES),
    Case("garbage_body", 502, "upstream_failed", worked=True, tries=TRIES),
    Case("cut_before_headers", 502, "upstream_failed", worked=True, tries=TRIES),
    Case("cut", 502, "upstream_failed", modes=("plain",), worked=True, tries=TRIES),
    Case("hang_before_headers", 504, "upstream_timeout", FIRST_TOKEN_S, modes=("stream",), worked=True),
    Case("hang_before_first_token", 504, "upstream_timeout", FIRST_TOKEN_S, modes=("stream",), worked=True),
)
"""Faults that show before the caller has seen anything."""

HANGING = (
    Case("hang_before_headers", 504, "upstream_timeout", TOTAL_S, modes=("plain",), worked=True),
    Case("hang", 504, "upstream_timeout", TOTAL_S, modes=("plain",), worked=True),
)
"""Those that take long to be noticed; so their tests come last."""

MIDWAY = (
    Case("hang", 504, "upstream_timeout", BETWEEN_TOKENS_S),
    Case("cut", 502, "upstream_failed"),
    Case("end", 502, "upstream_failed"),
    Case("garbage", 502, "upstream_failed"),
    Case("error_frame", 502, "upstream_failed"),
    Case("huge_frame", 502, "upstream_failed"),
)
"""Faults in the middle of a stream."""

ALL: list[tuple[Case, Mode]] = [
    *((case, mode) for case in BEFORE + HANGING for mode in case.modes),
    *((case, "stream") for case in MIDWAY),
]


@dataclass
class Outcome:
    """What a caller got."""

    text: str = ""
    error: openai.APIError | None = None
    headers: httpx.Headers | dict[str, str] = field(default_factory=dict)
    took_s: float = 0.0


class Calls:
    """All calls, on their way or done."""

    def __init__(self, client: openai.OpenAI, pool: ThreadPoolExecutor) -> None:
        self.run = secrets.token_hex(4)
        self._client = client
        self._calls: dict[tuple[str, Mode], Future[Outcome]] = {
            (case.fault, mode): pool.submit(self._call, case, mode) for case, mode in ALL
        }

    def outcome(self, case: Case, mode: Mode) -> Outcome:
        return self._calls[case.fault, mode].result(TOTAL_S + 3 * SLACK_S)

    def _call(self, case: Case, mode: Mode) -> Outcome:
        outcome = Outcome()
        began = time.monotonic()
        create = self._client.chat.completions.with_raw_response.create
        messages: Any = [{"role": "user", "content": case.prompt(mode, self.run)}]
        try:
            response = create(model=case.alias(mode), messages=messages, stream=mode == "stream")
            outcome.headers = response.headers  # type: ignore[assignment]
            parsed: Any = response.parse()
            if mode == "plain":
                outcome.text = parsed.choices[0].message.content
            else:
                for chunk in parsed:
                    outcome.text += chunk.choices[0].delta.content or ""
        except openai.APIStatusError as error:
            outcome.error, outcome.headers = error, error.response.headers  # type: ignore[assignment]
        except openai.APIError as error:
            outcome.error = error
        outcome.took_s = time.monotonic() - began
        return outcome


@pytest.fixture(scope="module")
def calls(stack: Stack, tenant: Tenant, upstream: OpenAIUpstream) -> Iterator[Calls]:
    stack.add_models([case.alias(mode) for case, mode in ALL], upstream.base_url, name="faults")
    with (
        openai.OpenAI(base_url=f"{stack.url}/v1", api_key=tenant.api_key, max_retries=0, timeout=60) as client,
        ThreadPoolExecutor(64) as pool,
    ):
        yield Calls(client, pool)


def all_emitted(upstream: OpenAIUpstream, prompt: str) -> list[Record]:
    """What the upstream itself says of the requests with this prompt."""
    return [record for record in upstream.records if record.prompt == prompt]


def emitted(upstream: OpenAIUpstream, prompt: str) -> Record:
    """The same of the only one."""
    (record,) = all_emitted(upstream, prompt)
    return record


def flatten(cases: tuple[Case, ...]) -> list[Any]:
    return [pytest.param(case, mode, id=f"{case.fault}-{mode}") for case in cases for mode in case.modes]


@pytest.mark.parametrize(("case", "mode"), flatten(BEFORE))
def test_a_fault_before_the_answer_is_an_error_with_its_status(calls: Calls, case: Case, mode: Mode) -> None:
    outcome = calls.outcome(case, mode)
    error = outcome.error
    assert isinstance(error, openai.APIStatusError), outcome
    assert (error.status_code, error.code) == (case.status, case.code)
    assert isinstance(error.body, dict)
    assert set(error.body) == {"message", "type", "param", "code"}
    assert len(error.body["message"]) > 10
    assert "sk-" not in error.response.text
    assert "127.0.0.1" not in error.response.text
    assert error.request_id
    assert outcome.headers.get("x-should-retry") == (None if case.retry else "false")
    assert outcome.headers.get("retry-after") == (str(RETRY_AFTER_S) if case.status == 429 else None)
    assert case.within_s - 1.0 <= outcome.took_s <= case.within_s + SLACK_S


@pytest.mark.parametrize("case", MIDWAY, ids=lambda case: case.fault)
def test_a_fault_in_mid_stream_is_an_error_frame_that_the_client_raises(
    calls: Calls, upstream: OpenAIUpstream, case: Case
) -> None:
    outcome = calls.outcome(case, "stream")
    error = outcome.error
    assert error is not None
    assert not isinstance(error, openai.APIStatusError | openai.APIConnectionError)
    assert error.code == case.code
    assert error.type == "provider_error"
    assert outcome.text == emitted(upstream, case.prompt("stream", calls.run)).text != ""
    assert outcome.took_s <= case.within_s + SLACK_S


@pytest.mark.parametrize(("case", "mode"), flatten(BEFORE))
def test_every_attempt_without_an_answer_is_on_record(
    stack: Stack, tenant: Tenant, calls: Calls, upstream: OpenAIUpstream, case: Case, mode: Mode
) -> None:
    outcome = calls.outcome(case, mode)
    sent = all_emitted(upstream, case.prompt(mode, calls.run))
    assert 1 <= len(sent) <= case.tries
    records = stack.usage(tenant.api_key, request_id=outcome.headers["x-request-id"])
    assert len(records) == len(sent)
    for record in records:
        assert (record["status"], record["model"], record["streamed"]) == ("failed", sent[0].model, sent[0].stream)
        assert record["estimated"] is case.worked
        assert record["tokens"]["output"] == 0
        assert (record["tokens"]["input"] > 0) is case.worked
        # Nobody saw anything of it, so nobody is charged.
        assert (record["cost_nano"], record["uncharged_nano"]) == (0, 1_000 * record["tokens"]["input"])


@pytest.mark.parametrize("case", MIDWAY, ids=lambda case: case.fault)
def test_what_came_before_a_fault_is_on_the_bill(
    stack: Stack, tenant: Tenant, calls: Calls, upstream: OpenAIUpstream, case: Case
) -> None:
    outcome = calls.outcome(case, "stream")
    sent = emitted(upstream, case.prompt("stream", calls.run))
    (record,) = stack.usage(tenant.api_key, request_id=outcome.headers["x-request-id"])
    tokens = record["tokens"]
    assert (record["status"], record["estimated"], record["streamed"]) == ("failed", True, True)
    assert tokens["output"] == count_tokens([sent.text], UNKNOWN)
    assert tokens["input"] > 0
    assert record["cost_nano"] == 1_000 * tokens["input"] + 2_000 * tokens["output"]


@pytest.mark.parametrize("mode", ["plain", "stream"])
def test_the_upstream_learns_within_a_second_that_the_client_left(
    stack: Stack, upstream: OpenAIUpstream, mode: Mode
) -> None:
    tenant = stack.create_tenant()
    text = "word " * 200
    prompt = "!script " + json.dumps({"text": f"{secrets.token_hex(4)} {text}", "delay_ms": 20})
    body = {"model": MODEL, "stream": mode == "stream", "messages": [{"role": "user", "content": prompt}]}
    with stack.client(tenant.api_key) as http:
        if mode == "stream":
            with http.stream("POST", "/v1/chat/completions", json=body) as response:
                lines = response.iter_lines()
                while "word" not in next(lines):
                    continue
        else:
            with pytest.raises(httpx.ReadTimeout):
                http.post("/v1/chat/completions", json=body, timeout=httpx.Timeout(5, read=0.5))
        eventually(lambda: emitted(upstream, prompt).outcome == "disconnected", within_s=SOON_S)
    (record,) = eventually(lambda: stack.usage(tenant.api_key))
    assert (record["status"], record["estimated"]) == ("stopped", True)
    assert record["tokens"]["input"] > 0
    assert (record["tokens"]["output"] > 0) is (mode == "stream")
    assert record["tokens"]["output"] <= count_tokens([emitted(upstream, prompt).text], UNKNOWN)


@pytest.mark.parametrize(("case", "mode"), flatten(HANGING))
def test_a_hanging_upstream_keeps_nobody_waiting_for_ever(
    stack: Stack, tenant: Tenant, calls: Calls, upstream: OpenAIUpstream, case: Case, mode: Mode
) -> None:
    test_a_fault_before_the_answer_is_an_error_with_its_status(calls, case, mode)
    test_every_attempt_without_an_answer_is_on_record(stack, tenant, calls, upstream, case, mode)


def test_the_bill_has_one_record_for_each_attempt_that_the_upstream_saw(
    stack: Stack, tenant: Tenant, calls: Calls, upstream: OpenAIUpstream
) -> None:
    answered = {calls.outcome(case, mode).headers["x-request-id"] for case, mode in ALL}
    assert len(answered) == len(ALL)
    seen = [record for record in upstream.records if calls.run in record.prompt]
    recorded = [record["request_id"] for record in stack.usage(tenant.api_key)]
    assert len(recorded) == len(seen) > len(ALL)
    assert set(recorded) == answered


def test_no_connection_to_the_upstream_is_left(calls: Calls, upstream: OpenAIUpstream) -> None:
    for case, mode in ALL:
        calls.outcome(case, mode)
    eventually(lambda: upstream.in_flight == 0, failing=lambda: upstream.in_flight)
    eventually(lambda: upstream.open_connections == 0, failing=lambda: upstream.open_connections)
