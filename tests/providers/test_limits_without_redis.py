"""Redis goes away and comes back: no request fails or waits for it, limits hold by this process's share, keys stay revocable."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from kernel import redis
from kernel.redis import line, sync_redis
from kernel.redis_line import Away, Script
from providers.limits import processes, rules
from providers.limits.stage import limiter
from tests.providers.test_limits import ask, key_id, limit, model, statuses
from tests.support.cast import Company
from tests.support.patience import soon
from tests.support.valkey import Valkey

__all__ = ["model"]
LONGEST_S = 5.0
"""Far below the 30 s that a client of Redis waits here, and well above what a busy machine adds to `REDIS_PATIENCE_S`."""


@pytest.fixture
def valkey(tmp_path: Path, settings: Any) -> Iterator[Valkey]:
    """The Redis of this test."""
    own = Valkey(tmp_path / "v")
    own.start()
    settings.REDIS_URL = own.url
    settings.REDIS_TIMEOUT_S = 30.0
    settings.REDIS_PATIENCE_S = 1.0
    sync_redis.cache_clear()
    rules._kept.forget_where(lambda _: True)
    yield own
    own.stop()
    sync_redis.cache_clear()


async def timed(*given: Any) -> tuple[int, float]:
    began = time.perf_counter()
    answer = await ask(*given)
    return answer.status_code, time.perf_counter() - began


async def back(company: Company, model: str) -> None:
    """Ask until a request goes by way of Redis again."""
    async with soon():
        while limiter().is_local or not line().is_up:
            assert (await ask(company.api_key, model)).status_code in (200, 429)
            await asyncio.sleep(0.02)


async def test_no_request_fails_while_redis_stops_and_starts(valkey: Valkey, company: Company, model: str) -> None:
    assert await statuses(2, company.api_key, model) == [200, 200]
    assert not limiter().is_local
    under_way = [asyncio.create_task(timed(company.api_key, model)) for _ in range(20)]
    await asyncio.sleep(0)
    valkey.stop()
    seen = await asyncio.gather(*under_way, *(timed(company.api_key, model) for _ in range(20)))
    seen += [await timed(company.api_key, model) for _ in range(20)]
    assert {status for status, _ in seen} == {200}
    assert max(seconds for _, seconds in seen[20:]) < LONGEST_S
    assert limiter().is_local
    valkey.start()
    await back(company, model)
    assert await statuses(2, company.api_key, model) == [200, 200]
    assert not limiter().is_local


async def test_a_server_that_answers_nothing_keeps_nobody(valkey: Valkey, company: Company, model: str) -> None:
    assert await statuses(1, company.api_key, model) == [200]
    valkey.freeze()
    status, seconds = await timed(company.api_key, model)
    assert (status, seconds < LONGEST_S) == (200, True)
    # From the first failure on nobody even tries.
    asked: list[str] = []
    for _ in range(5):
        status, seconds = await timed(company.api_key, model)
        asked.append(f"{status} {seconds < LONGEST_S}")
    assert asked == ["200 True"] * 5
    assert not line().is_up
    valkey.thaw()
    await back(company, model)


async def test_limits_hold_by_this_processs_share(valkey: Valkey, company: Company, model: str, settings: Any) -> None:
    settings.WEB_PROCESSES = 4
    await sync_to_async(limit)(company, requests_per_minute=8)
    assert (await ask(company.api_key, model)).status_code == 200
    limiter().processes._counted = None
    valkey.stop()
    answers = [await ask(company.api_key, model) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
    assert int(answers[-1].headers["retry-after"]) > 15


async def test_tokens_are_corrected_here_too(valkey: Valkey, company: Company, model: str) -> None:
    await sync_to_async(limit)(company, tokens_per_minute=10_000)
    valkey.stop()
    first = await ask(company.api_key, model, max_tokens=4_000)
    assert first.status_code == 200
    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 6_100
    async with soon():
        while any(tat - time.monotonic_ns() // 1000 > 1_000_000 for tat in limiter().local._tats.values()):
            await asyncio.sleep(0.01)
    assert [(await ask(company.api_key, model, max_tokens=4_000)).status_code for _ in range(2)] == [200, 200]


async def test_a_key_can_still_be_revoked(valkey: Valkey, company: Company, model: str) -> None:
    assert await statuses(1, company.api_key, model) == [200]
    found: uuid.UUID = await sync_to_async(key_id)(company)
    valkey.stop()
    assert (await sync_to_async(company.alice.client.delete)(f"/api/v1/api-keys/{found}")).status_code == 204
    async with soon():
        began = time.monotonic()
        while (await ask(company.api_key, model)).status_code != 401:
            assert time.monotonic() - began < 5
            await asyncio.sleep(0.05)


async def test_processes_are_counted_while_they_serve(valkey: Valkey) -> None:
    await line().call("PING")
    here, other, gone = (processes.Processes() for _ in range(3))
    for each in (gone, other, here):
        each.beat()
        assert each._beating is not None
        await each._beating
    assert here.count == 3
    await line().call("ZADD", processes.KEY, time.time() - processes.GONE_AFTER_S - 1, gone._name)
    here._beat_at = -processes.BEAT_EVERY_S
    here.beat()
    await here._beating
    assert here.count == 2
    here.beat()
    valkey.stop()
    assert here.count == 2


async def test_only_one_connection_is_tried_each_second(settings: Any, monkeypatch: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    tries = []
    opening = redis.Line._open

    async def counted(self: redis.Line) -> None:
        tries.append(1)
        await opening(self)

    monkeypatch.setattr(redis.Line, "_open", counted)
    for _ in range(3):
        refused = await asyncio.gather(*(line().call("PING") for _ in range(50)), return_exceptions=True)
        assert all(isinstance(error, Away) for error in refused)
    assert len(tries) == 1
    line()._retry_at = 0.0
    refused = await asyncio.gather(*(line().call("PING") for _ in range(50)), return_exceptions=True)
    assert len(tries) <= 2
    assert all(isinstance(error, Away) for error in refused)


async def test_replies_come_to_whom_they_belong_and_errors_to_nobody_else(settings: Any) -> None:
    settings.REDIS_PATIENCE_S = 5.0
    asked = [line().call("ECHO", str(number)) for number in range(500)]
    refused = line().call("NO-SUCH-COMMAND")
    answers = await asyncio.gather(*asked[:250], refused, *asked[250:], return_exceptions=True)
    assert "unknown command" in str(answers.pop(250))
    assert answers == [str(number).encode() for number in range(500)]
    assert await line().calls(("ECHO", "a"), ("ECHO", "b")) == [b"a", b"b"]
    with pytest.raises(redis.RedisError, match="unknown command"):
        await line().calls(("ECHO", "a"), ("NO-SUCH-COMMAND",))


async def test_who_stops_waiting_disturbs_no_other(settings: Any) -> None:
    settings.REDIS_PATIENCE_S = 5.0
    await line().call("PING")
    first = asyncio.create_task(line().call("ECHO", "first"))
    second = asyncio.create_task(line().call("ECHO", "second"))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == b"second"


async def test_a_script_runs_by_its_digest(settings: Any) -> None:
    settings.REDIS_PATIENCE_S = 5.0
    script = Script("return {KEYS[1], ARGV[1]}")
    try:
        assert await line().script(script, "{x}k", "v", keys=1) == [b"{x}k", b"v"]
        with pytest.raises(redis.RedisError):
            await line().script(Script("return redis.call('NO-SUCH')"), keys=0)
    finally:
        del Script.known[-2:]
