"""The semantic cache on a PostgreSQL of its own: nothing crosses a scope, and how long a look-up takes.

    python -m bench.semantic                                          # both parts
    python -m bench.semantic --only scopes --operations 100000
    python -m bench.semantic --only lookups --entries 10000 --per-s 100 --seconds 60

*scopes*: so many tenants ask the same questions, in a few wordings, whose answers are each tenant's own; random operations.
Every answer served is held against whose it should be. *lookups*: one scope with so many entries; questions come at random
times, so many a second on average (`bench.pacemaker`), and their times count from when they were due. A task that sleeps
says how late the event loop was meanwhile.

Both go the way of a request's stage from the question to the answer (eligibility, embedder, neighbours, verdict,
decryption); what is outside of it, accepting and billing, is not measured. Exits with 1 where a line doesn't hold.
"""

import argparse
import asyncio
import base64
import contextlib
import gc
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("LOG_LEVEL", "ERROR")

from bench.openloop import percentile  # noqa: E402
from bench.pacemaker import ticks  # noqa: E402

HIT_SHARE, LOOKUP_P95_S, LAG_P99_S = 0.9, 0.015, 0.005
LAG_EVERY_S = 0.01
BATCH = 64
VERBS = ["install", "repair", "clean", "paint", "store", "ship", "insure", "sharpen", "fold", "label"]
KINDS = [
    "wooden",
    "copper",
    "leather",
    "ceramic",
    "electric",
    "inflatable",
    "antique",
    "waterproof",
    "magnetic",
    "folding",
]
THINGS = [
    "ladder",
    "kettle",
    "saddle",
    "violin",
    "tent",
    "bicycle",
    "telescope",
    "hammock",
    "piano",
    "canoe",
    "lantern",
    "mirror",
    "umbrella",
    "typewriter",
    "accordion",
    "compass",
    "barometer",
    "sled",
    "wardrobe",
    "anvil",
    "globe",
    "stove",
    "drum",
    "harp",
    "loom",
    "kite",
    "raft",
    "trunk",
    "bench",
    "clock",
]
WORDINGS = ("How do I {} a {} {}?", "how do i {} a {} {}", "Please, how do I {} a {} {}?")


@dataclass
class Measured:
    """What came of a part; times in seconds."""

    lookups_s: list[float] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)
    hits: int = 0
    misses: int = 0
    foreign: int = 0
    exact: int = 0


def topics(count: int) -> list[tuple[str, str, str]]:
    """So many things to ask about."""
    every = [(verb, kind, thing) for thing in THINGS for kind in KINDS for verb in VERBS]
    if count > len(every) * len(VERBS):
        raise SystemExit(f"at most {len(every) * len(VERBS)} questions")
    more = [(f"{verb} and {other}", kind, thing) for other in VERBS for verb, kind, thing in every if verb != other]
    return (every + more)[:count]


class Bench:
    """A tenant's questions on the way of a request."""

    def __init__(self, tenant_id: uuid.UUID, namespace: Any) -> None:
        from billing.types import Payer
        from providers.cache.lookups import Place
        from tenants.principals import Principal

        self.principal = Principal("member", tenant_id, uuid.uuid4(), uuid.uuid4(), "member", frozenset({"models.use"}))
        self.payer = Payer(tenant_id, "member", self.principal.membership_id)
        self.namespace = namespace
        self.candidates = _candidates()
        self._place = Place

    def job(self, text: str) -> tuple[Any, Any]:
        """A question as a job, and its place."""
        from kernel.ids import uuid7
        from providers.pipeline.values import Job
        from providers.types import ChatRequest, user_message

        request = ChatRequest("bench", (user_message(text),), temperature=0.0)
        job = Job(uuid7(), self.payer, request, self.candidates, principal=self.principal)
        return job, self._place(self.principal.tenant_id, secrets.token_bytes(32), True, True, True, self.namespace)

    async def keep(self, missed: Any, text: str) -> None:
        """The provider answered."""
        from providers.cache.semantic.writes import keep

        await keep(_answered(missed, text))


async def _scopes(options: argparse.Namespace, tenants: Sequence[uuid.UUID], namespace: Any) -> Measured:
    from providers.cache.semantic.lookups import look_up_alike

    dice, done = random.Random(options.seed), Measured()
    houses = [Bench(tenant, namespace) for tenant in tenants]
    asked_for = topics(options.questions)
    for _ in range(options.operations):
        which, topic = dice.randrange(len(houses)), dice.randrange(len(asked_for))
        house = houses[which]
        expected = f"Tenant {which} says of question {topic}: {' '.join(asked_for[topic])}."
        job, place = house.job(dice.choice(WORDINGS).format(*asked_for[topic]))
        served, missed = await look_up_alike(job, place)
        if served is None:
            done.misses += 1
            if missed is not None:
                await house.keep(missed, expected)
            continue
        done.hits += 1
        said = (await served.answer()).text
        done.foreign += not said.startswith(f"Tenant {which} ")
        done.exact += said == expected
    return done


async def _lookups(options: argparse.Namespace, tenant: uuid.UUID, namespace: Any) -> Measured:
    from providers.cache.semantic.lookups import look_up_alike

    done, dice, house = Measured(), random.Random(options.seed), Bench(tenant, namespace)
    asked_for = topics(options.entries)
    began_s = time.monotonic()
    await _load(house, asked_for)
    print(f"loaded {len(asked_for):,} entries in {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    gc.collect()
    gc.freeze()

    async def one(due_s: float) -> None:
        text = dice.choice(WORDINGS[1:]).format(*dice.choice(asked_for))
        served, _ = await look_up_alike(*house.job(text))
        done.lookups_s.append(time.monotonic() - due_s)
        done.hits += served is not None
        done.misses += served is None

    for _ in range(20):
        await one(time.monotonic())
    done.lookups_s.clear()
    watching = asyncio.create_task(_watch(done.lags_s))
    count = round(options.per_s * options.seconds)
    seed = options.seed if options.arrivals == "random" else None
    tasks = [asyncio.create_task(one(due)) async for due in ticks(per_s=options.per_s, count=count, seed=seed)]
    await asyncio.gather(*tasks)
    watching.cancel()
    return done


async def _load(house: Bench, asked_for: Sequence[tuple[str, str, str]]) -> None:
    """Entries with an answer each, written as they are after an answer, but without looking at their neighbours."""
    from kernel import adb
    from kernel.ids import uuid7
    from providers.cache.semantic import storage
    from providers.cache.semantic.questions import asking_of
    from providers.cache.semantic.writes import entry_of
    from providers.semantic import embedders

    embedder = embedders.get(house.namespace.semantic_embedder)
    for start in range(0, len(asked_for), BATCH):
        askings = [asking_of(*house.job(WORDINGS[0].format(*one))) for one in asked_for[start : start + BATCH]]
        vectors = await embedder.embed([asking.question.text for asking in askings])  # type: ignore[union-attr]
        async with adb.transaction(house.principal.tenant_id) as connection:
            for asking, vector in zip(askings, vectors, strict=True):
                if isinstance(asking, str):
                    raise SystemExit(f"not eligible: {asking}")
                answered = _answered(_missed(asking), f"This is how: {asking.question.text}")
                entry = entry_of(answered, vector, vector, cluster=uuid7(), confirmed=True, calibration="")
                await storage.write(connection, entry)


async def _watch(lags_s: list[float]) -> None:
    """How much later than it wanted to a task that sleeps wakes up."""
    loop = asyncio.get_running_loop()
    while True:
        before = loop.time()
        await asyncio.sleep(LAG_EVERY_S)
        lags_s.append(max(0.0, loop.time() - before - LAG_EVERY_S))


def _missed(asking: Any) -> Any:
    from providers.cache.semantic.lookups import Missed

    return Missed(asking)


def _answered(missed: Any, text: str) -> Any:
    from providers.cache.entries import Kept, encode
    from providers.cache.semantic.writes import Answered
    from providers.types import AnswerChoice, ChatAnswer, Usage

    answer = ChatAnswer("bench", (AnswerChoice(text=text, finish_reason="stop"),), Usage(20, output=20))
    kept = Kept(answer, time.time(), time.time() + 86_400, "fake", "bench")
    return Answered(missed, kept, encode(kept), 1_000)


def _candidates() -> tuple[Any, ...]:
    from billing.types import Tariff
    from providers.adapters.fake import FakeAdapter
    from providers.base import Target
    from providers.pipeline.values import Candidate
    from providers.routes import ResolvedDeployment

    deployment = ResolvedDeployment(
        id=uuid.UUID(int=1),
        provider="fake",
        connection="bench",
        base_url="fake://",
        model="bench",
        platform=True,
        tariff=Tariff("bench", {}),
        secret=None,
    )
    return (Candidate("bench", FakeAdapter(), Target("fake", "fake://", "bench"), deployment),)


async def _run(options: argparse.Namespace, tenants: Sequence[uuid.UUID]) -> bool:
    from kernel import adb
    from providers.cache import lifecycle
    from providers.cache.namespaces import Namespace
    from providers.cache.semantic import lookups
    from providers.cache.semantic.support import support

    lookups.acknowledge = _nothing  # type: ignore[attr-defined]
    namespace = Namespace(
        semantic=True,
        semantic_rate=options.rate,
        semantic_audit_share=0.0,
        semantic_max_entries=200_000,
        sharing="tenant",
    )
    held = True
    try:
        if problem := (await support()).problem:
            raise SystemExit(problem)
        if options.only in (None, "scopes"):
            held &= _told_scopes(await _scopes(options, tenants, namespace))
        if options.only in (None, "lookups"):
            held &= _told_lookups(await _lookups(options, tenants[0], namespace))
    finally:
        await lifecycle.close()
        await adb.close()
    return held


def _told_scopes(done: Measured) -> bool:
    asked = done.hits + done.misses
    lines = {
        f"{done.foreign} of {asked:,} answers across a scope (none allowed)": done.foreign == 0,
        f"{done.hits / asked:.1%} hits within (at least {HIT_SHARE:.0%})": done.hits >= HIT_SHARE * asked,
    }
    print(f"scopes: {done.hits:,} hits, {done.misses:,} misses; {done.hits - done.exact} answered another question's")
    return _judged(lines)


def _told_lookups(done: Measured) -> bool:
    times = " / ".join(f"{percentile(done.lookups_s, share) * 1e3:.1f}" for share in (0.5, 0.95, 0.99))
    lags = " / ".join(f"{percentile(done.lags_s, share) * 1e3:.1f}" for share in (0.5, 0.95, 0.99))
    print(
        f"lookups: {len(done.lookups_s):,}, p50 / p95 / p99 {times} ms; {done.hits:,} hits; event loop late {lags} ms"
    )
    p95_s, lag_s = percentile(done.lookups_s, 0.95), percentile(done.lags_s, 0.99)
    return _judged(
        {
            f"p95 {p95_s * 1e3:.1f} ms (at most {LOOKUP_P95_S * 1e3:.0f})": p95_s <= LOOKUP_P95_S,
            f"the loop's lag, p99 {lag_s * 1e3:.1f} ms (below {LAG_P99_S * 1e3:.0f})": lag_s < LAG_P99_S,
        }
    )


def _judged(lines: dict[str, bool]) -> bool:
    for line, is_held in lines.items():
        print(f"  {'ok  ' if is_held else 'FAIL'} {line}")
    return all(lines.values())


def _nothing(*_: object, **__: object) -> None:
    """In place of the usage record, which is written in batches elsewhere."""


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[None]:
    from config.embedded.testing import throwaway_servers

    with throwaway_servers(folder / "home", durable=True) as servers:
        os.environ |= {"DATABASE_URL": servers.admin_database_url, "REDIS_URL": servers.redis_url}
        os.environ |= {name: secrets.token_hex(32) for name in ("PARLEY_KEY_PEPPER", "PARLEY_JWT_KEY")}
        os.environ["PARLEY_MASTER_KEY"] = base64.b64encode(secrets.token_bytes(32)).decode()
        subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        yield


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("scopes", "lookups"))
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--per-s", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=0.02, help="the stated rate of wrong hits")
    parser.add_argument("--arrivals", choices=("even", "random"), default="random")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parley-semantic-") as folder, _database(Path(folder)):
        import django

        django.setup()
        import uvloop

        from tenants.services.provisioning import create_tenant

        tenants = [
            create_tenant(slug=f"semantic-{secrets.token_hex(5)}", owner_email="semantic@example.com").tenant.id
            for _ in range(options.tenants)
        ]
        return 0 if uvloop.run(_run(options, tenants)) else 1


if __name__ == "__main__":
    sys.exit(main())
