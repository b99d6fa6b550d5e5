"""What the exact cache costs a request, without HTTP.

    python -m bench.cache --seconds 3 --chars 2000

Places, looks up and renders the same answer again and again, in one process and with a store that is away: what is measured is
the work of this process. Prints microseconds a request for a hit (plain and streamed), for a miss, and for a request that goes
past the cache.
"""

import argparse
import asyncio
import base64
import os
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

import django

django.setup()

from django.conf import settings  # noqa: E402
from msgspec.structs import replace  # noqa: E402

from billing.types import Payer, Tariff  # noqa: E402
from kernel.ids import uuid7  # noqa: E402
from providers.adapters.fake import FakeAdapter  # noqa: E402
from providers.base import Target  # noqa: E402
from providers.cache import lookups, namespaces  # noqa: E402
from providers.cache.entries import Entry, Kept  # noqa: E402
from providers.cache.memory import memory  # noqa: E402
from providers.cache.namespaces import Namespace  # noqa: E402
from providers.gateway.hits import hit_headers, send_hit  # noqa: E402
from providers.gateway.http import Responder  # noqa: E402
from providers.gateway.openai import ChatCompletions  # noqa: E402
from providers.pipeline.values import Candidate, Job  # noqa: E402
from providers.routes import ResolvedDeployment  # noqa: E402
from providers.types import AnswerChoice, ChatAnswer, ChatRequest, Usage, user_message  # noqa: E402
from tenants.principals import Principal  # noqa: E402

BATCH = 200
SURFACE = ChatCompletions()


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--chars", type=int, default=2000, help="of the question, and of the answer")
    options = parser.parse_args()
    settings.PARLEY_MASTER_KEY = settings.PARLEY_MASTER_KEY or base64.b64encode(bytes(32)).decode()
    for name, us in asyncio.run(_measure(options.seconds, options.chars)).items():
        print(f"cache: {name:<10} {us:7.1f} us a request, {1e6 / us:9,.0f} requests/s in process")


async def _measure(seconds: float, chars: int) -> dict[str, float]:
    principal, candidates = _caller(), _candidates()
    namespace = Namespace()
    lookups.namespace_of = _settings(namespace)  # type: ignore[assignment, attr-defined]
    lookups.acknowledge = _nothing  # type: ignore[attr-defined]
    request = ChatRequest("bench", (user_message("q" * chars),), temperature=0.0)

    def job(asked: ChatRequest) -> Job:
        payer = Payer(principal.tenant_id, "member", principal.membership_id)
        return Job(uuid7(), payer, asked, candidates, principal=principal)

    place = await lookups.place_of(job(request))
    if place is None:
        raise RuntimeError("the request has no place in the cache")
    answer = ChatAnswer("bench", (AnswerChoice(text="a" * chars, finish_reason="stop"),), Usage(500, output=500))
    kept = Kept(answer, time.time(), time.time() + 3600, "fake", "bench")
    memory().put(Entry(place.key, principal.tenant_id, kept, chars))

    async def hit(asked: ChatRequest) -> None:
        one = job(asked)
        place = await lookups.place_of(one)
        served = place and await lookups.look_up(one, place)
        if not served:
            raise RuntimeError("that was a miss")
        responder = Responder(_discard, request_id=one.request_id)
        await send_hit(responder, served, SURFACE, asked, headers=hit_headers(served, time.perf_counter()))

    async def place_only(asked: ChatRequest) -> None:
        await lookups.place_of(job(asked))

    async def nothing(asked: ChatRequest) -> None:
        job(asked)

    return {
        "hit": await _us(hit, request, seconds),
        "streamed": await _us(hit, replace(request, stream=True), seconds),
        "place": await _us(place_only, request, seconds),
        "past it": await _us(place_only, replace(request, temperature=1.0), seconds),
        "no cache": await _us(nothing, request, seconds),
    }


async def _us(call: Callable[[ChatRequest], Awaitable[None]], request: ChatRequest, seconds: float) -> float:
    """Microseconds of this process's CPU per call: the best batch, as others may share the machine."""
    best = float("inf")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.process_time()
        for _ in range(BATCH):
            await call(request)
        best = min(best, (time.process_time() - started) / BATCH)
    return best * 1e6


def _caller() -> Principal:
    return Principal(
        kind="member",
        tenant_id=uuid.uuid4(),
        membership_id=uuid.uuid4(),
        person_id=uuid.uuid4(),
        role="member",
        permissions=frozenset({"models.use"}),
    )


def _candidates() -> tuple[Candidate, ...]:
    deployment = ResolvedDeployment(
        id=uuid.uuid4(),
        provider="fake",
        connection="bench",
        base_url="fake://",
        model="bench",
        platform=True,
        tariff=Tariff("bench", {}),
        secret=None,
    )
    return (Candidate("bench", FakeAdapter(), Target("fake", "fake://", "bench"), deployment),)


def _settings(namespace: Namespace) -> Callable[[uuid.UUID], Awaitable[Namespace]]:
    """The settings, as a process has them that has just read them."""
    namespaces.forget(uuid.UUID(int=0))

    async def known(tenant_id: uuid.UUID) -> Namespace:
        return namespace

    return known


def _nothing(*_: object, **__: object) -> None:
    """In place of the usage record, which is written in batches elsewhere."""


async def _discard(_: dict[str, object]) -> None:
    return None


if __name__ == "__main__":
    main()
