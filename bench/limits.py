"""What the limit stage costs this process: microseconds of CPU per request, on one core.

    python -m bench.limits --calls 20000 --at-once 100

Starts a Valkey of its own, and needs no database. `at-once` requests are under way together, as many as a busy process has. Each
line is one way of doing it:

    read        the caller's epochs alone: a request under no limit
    take        four buckets, the epochs and the cache's entry, by script
    redis-py    the same script by a pooled client, a call each
    known key   from the text of an API key to its principal, without the round trip that confirms it
    metrics     what is counted of a request with one attempt
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from django.conf import settings  # noqa: E402

from billing.types import Payer, Tariff  # noqa: E402
from config.embedded.home import Home  # noqa: E402
from config.embedded.testing import run_child, wait_until_ready  # noqa: E402
from config.embedded.valkey import valkey_spec  # noqa: E402
from kernel import redis  # noqa: E402
from kernel.redis import async_redis, line, tenant_key  # noqa: E402
from providers.adapters.fake import FakeAdapter  # noqa: E402
from providers.base import Target  # noqa: E402
from providers.limits import script  # noqa: E402
from providers.limits.buckets import MINUTE_US, Bucket  # noqa: E402
from providers.measure import request_answered, result_settled  # noqa: E402
from providers.pipeline.values import AttemptOutcome, Candidate, Job, Result  # noqa: E402
from providers.routes import ResolvedDeployment  # noqa: E402
from providers.types import ChatAnswer, ChatRequest, Usage  # noqa: E402
from tenants import credentials, last_used  # noqa: E402
from tenants.keys import digest, make_key  # noqa: E402
from tenants.selectors import KeyRow  # noqa: E402

TENANT = uuid.uuid4()
FIELDS = ("t", f"m:{uuid.uuid4()}", f"k:{uuid.uuid4()}", "l")
BUCKETS = tuple(
    Bucket(tenant_key(TENANT, "limit", kind[0], subject), kind, 1_000_000_000, MINUTE_US)
    for kind in ("requests", "tokens")
    for subject in ("t", "k:1")
)


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--at-once", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        home = Home(folder)
        home.prepare()
        spec = valkey_spec(home, throwaway=True)
        with run_child(spec, log=home.run / "valkey.log") as process:
            wait_until_ready(spec, process)
            settings.REDIS_URL = home.redis_url()
            settings.PARLEY_KEY_PEPPER = settings.PARLEY_KEY_PEPPER or "a pepper for the bench"
            asyncio.run(_measure(options.calls, options.at_once))
        home.clear_sockets()


async def _measure(calls: int, at_once: int) -> None:
    epochs_key = tenant_key(TENANT, "epochs")
    count, given = script.take_arguments(
        epochs_key=epochs_key,
        fields=FIELDS,
        buckets=BUCKETS,
        costs=(1, 1, 1, 1),
        cache_key=tenant_key(TENANT, "cache", "x").encode(),
    )
    key = make_key().text
    _remember(key)

    async def known_key() -> None:
        await credentials.authenticate(key, address="127.0.0.1", confirmed=False)

    result = _result()

    async def counted() -> None:
        request_answered(surface="/v1/chat/completions", status=200, cache_status="miss")
        result_settled(result)

    await line().call("PING")
    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "read": lambda: line().call("HMGET", epochs_key, *FIELDS),
        "take": lambda: line().script(script.TAKE, *given, keys=count),
        "redis-py": lambda: async_redis().evalsha(script.TAKE.digest, count, *given),
        "known key": known_key,
        "metrics": counted,
    }
    for name, way in ways.items():
        cpu_us, per_s = await _time(way, calls, at_once)
        print(f"{name:10} {cpu_us:7.1f} µs of CPU a request   {per_s:9,.0f} requests/s")
    await redis.close()


async def _time(way: Callable[[], Awaitable[object]], calls: int, at_once: int) -> tuple[float, float]:
    async def worker(count: int) -> None:
        for _ in range(count):
            await way()

    await asyncio.gather(*(worker(20) for _ in range(at_once)))
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(worker(calls // at_once) for _ in range(at_once)))
    done = calls // at_once * at_once
    return (time.process_time() - cpu) / done * 1e6, done / (time.perf_counter() - began)


def _result() -> Result:
    """How a job of one attempt ended."""
    target = Target("fake", "fake://", "echo")
    deployment = ResolvedDeployment(
        id=TENANT,
        provider="fake",
        connection="fake",
        base_url="fake://",
        model="echo",
        platform=True,
        tariff=Tariff("echo", {}),
        secret=None,
    )
    candidate = Candidate("fake", FakeAdapter(), target, deployment)
    payer = Payer(tenant_id=TENANT, principal_kind="member", membership_id=TENANT)
    job = Job(TENANT, payer, ChatRequest(model="echo", messages=()), (candidate,))
    usage = Usage(input=10, output=10)
    attempt = AttemptOutcome(
        number=1,
        candidate=candidate,
        status="complete",
        usage=usage,
        visible=True,
        started_at=datetime.now(tz=UTC),
        ttft_ms=None,
        latency_ms=100,
    )
    return Result(job, "complete", (attempt,), ChatAnswer("echo", (), usage))


def _remember(key: str) -> None:
    """Have this process know the key, as after its first request."""
    settings.KEY_RECORD_TTL_S = 3600.0
    key_id = uuid.uuid4()
    row = KeyRow(
        id=key_id,
        tenant_id=TENANT,
        membership_id=uuid.uuid4(),
        person_id=uuid.uuid4(),
        role="member",
        scopes=["models.use"],
        allowed_models=None,
        allowed_networks=None,
        expires_at=None,
        tenant_suspended=False,
        tenant_epoch=1,
        membership_epoch=1,
        key_epoch=1,
        lookup_id="bench",
        max_priority="normal",
        pace_tokens_per_s=None,
    )
    hashed = digest(key)
    credentials._records.keep(hashed, credentials._record_of(row, hashed), began_s=time.monotonic())
    last_used._noted[key_id] = time.monotonic() + 3600


if __name__ == "__main__":
    main()
