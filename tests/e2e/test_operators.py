"""The operators' listener of a running platform: what it counts, and that it says what the platform does without."""

import os
import re
import signal
import time
from collections.abc import Iterator

import httpx2 as httpx
import pytest

from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.databases import make_database
from tests.support.servers import SECRETS, database_url
from tests.support.stack import Stack, eventually
from tests.support.web_processes import web_processes

OPERATORS = re.compile(r"operators look at (http://\S+)")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, upstream: OpenAIUpstream, database: str) -> Iterator[Stack]:
    """A platform with a Valkey of its own, and two web processes."""
    make_database(database_url("test_operators"))
    environment = {"DATABASE_URL": database_url("test_operators"), **SECRETS}
    stack = Stack(tmp_path_factory.mktemp("own"), "--workers", "2", "--no-local-model", environment=environment).start()
    stack.add_model(MODEL, upstream.base_url, upstream="fake-model")
    yield stack
    stack.stop()


@pytest.fixture(scope="module")
def operators(own: Stack) -> str:
    return OPERATORS.findall(own.output)[-1]


def ask(own: Stack, key: str) -> httpx.Response:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
    # Each on a connection of its own, so that both processes have their part.
    return httpx.post(
        f"{own.url}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {key}"}, timeout=10
    )


def metric(operators: str, name: str) -> float:
    """The sum over all label values."""
    text = httpx.get(f"{operators}/metrics", timeout=10).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}[{{ ]", line))


def test_the_outbox_is_among_the_numbers(operators: str) -> None:
    text = httpx.get(f"{operators}/metrics", timeout=10).text
    assert 'parley_outbox_messages{state="dead"} 0.0' in text
    assert "parley_outbox_late_seconds" in text


def test_numbers_of_all_processes_are_added_up(own: Stack, operators: str) -> None:
    key = own.create_tenant().api_key
    before = metric(operators, "parley_requests_total")
    used = metric(operators, "gen_ai_client_token_usage_total")
    for _ in range(20):
        assert ask(own, key).status_code == 200
    assert ask(own, "sk-parley-wrong").status_code == 401
    # Whoever is asked, and more than once.
    for _ in range(4):
        eventually(lambda: metric(operators, "parley_requests_total") == before + 21)
    eventually(lambda: metric(operators, "gen_ai_client_token_usage_total") > used)
    text = httpx.get(f"{operators}/metrics", timeout=10).text
    assert 'parley_requests_total{cache="",status="401",surface="/v1/chat/completions"} 1.0' in text
    for name in ("gen_ai_client_operation_duration_seconds_count", "parley_group_commit_size_count"):
        assert metric(operators, name) >= 1
    for name in ("parley_event_loop_lag_seconds", "parley_limits_factor"):
        assert re.search(rf"^{name} ", text, re.MULTILINE), name
    assert 'parley_queued{priority="interactive"} 0.0' in text
    assert 'parley_breakers{state="open"} 0.0' in text
    assert key not in text


def test_it_listens_on_loopback_and_the_public_listener_shows_none_of_it(own: Stack, operators: str) -> None:
    assert operators.startswith("http://127.0.0.1:")
    assert "parley_requests" not in httpx.get(f"{own.url}/metrics", timeout=10).text
    assert httpx.get(f"{own.url}/readyz", timeout=10).json() == {"status": "ready"}
    assert httpx.get(f"{operators}/healthz", timeout=10).json() == {"status": "alive"}
    assert httpx.get(f"{operators}/elsewhere", timeout=10).status_code == 404


def test_without_redis_it_serves_on_and_says_so_until_redis_is_back(own: Stack, operators: str) -> None:
    key = own.create_tenant().api_key
    assert ask(own, key).status_code == 200
    detail = httpx.get(f"{operators}/readyz", timeout=10).json()
    assert (detail["status"], detail["degraded"], detail["limits"]["mode"]) == ("ready", [], "redis")
    valkey = own.children()["valkey"]
    os.kill(valkey, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert [ask(own, key).status_code for _ in range(10)] == [200] * 10
        assert time.monotonic() - began < 10, "each would wait 2 s for Redis"
        detail = httpx.get(f"{operators}/readyz", timeout=10).json()
        assert (detail["status"], detail["degraded"]) == ("ready", ["redis"])
        assert httpx.get(f"{own.url}/readyz", timeout=10).status_code == 200
        eventually(lambda: ask(own, key).status_code == 200 and metric(operators, "parley_limits_local") >= 1)
        assert 1 <= metric(operators, "parley_limits_local") <= len(web_processes(own))
    finally:
        os.kill(valkey, signal.SIGCONT)
    eventually(lambda: ask(own, key).status_code == 200 and metric(operators, "parley_limits_local") == 0, within_s=30)
    eventually(lambda: httpx.get(f"{operators}/readyz", timeout=10).json()["degraded"] == [])
