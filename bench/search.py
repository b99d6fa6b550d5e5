"""Search over a million messages of one tenant beside others', with row-level security on, as the web processes do it.

    python -m bench.search                                      # a million messages, on a PostgreSQL of its own
    python -m bench.search --messages 20000 --queries 300 --sample 20

All tenants speak with the same words, and each has canaries that nobody else has. Random members ask random questions: words
and phrases that somebody said to them, the commonest words, words of the vocabulary, other tenants' canaries. Every answer is
held against the rooms that the member is in; a sample is compared with brute force, which reads every message. Then
messages are written: each through the service (all that saying it takes), and each as a bare row (what the words cost). Exits
with 1 where a line doesn't hold.

`--explain` prints what PostgreSQL does for a few questions.
"""

import argparse
import asyncio
import contextlib
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("LOG_LEVEL", "ERROR")

import psycopg  # noqa: E402
from psycopg.types.json import Jsonb  # noqa: E402

from bench.openloop import percentile  # noqa: E402
from bench.search_world import PEOPLE_MAX, World, people_rooms, rows, vocabulary  # noqa: E402

NEIGHBOURS, NEIGHBOURS_SHARE = 4, 0.05
QUERY_P95_S, WRITE_S, FOUND_SHARE = 0.050, 0.005, 0.9
PAGE = 20
COMMON_WORDS = 12
WARM_UP = 300
"""Questions, and messages, before either is measured, after which the database has in memory what it has when it is in use."""
BRUTE_RANKED_MAX = 200
"""As many of the newest matches are ranked; what the function's migration says."""
EVERYWHERE_SHARE = 0.1
"""So many questions come from somebody who is in every room."""


@dataclass(frozen=True)
class Question:
    """Who asks what."""

    kind: str
    world: World
    member: int
    words: str


@dataclass
class Outcome:
    """What came of the questions."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    everywhere: list[float] = field(default_factory=list)
    found: int = 0
    asked: int = 0
    canaries: int = 0
    strangers: int = 0
    capped: Counter[str] = field(default_factory=Counter)
    differing: list[str] = field(default_factory=list)
    compared: int = 0
    writes: list[float] = field(default_factory=list)
    inserts: list[float] = field(default_factory=list)


class Asking:
    """Makes questions out of what was said."""

    def __init__(self, worlds: list[World], words: list[str], admin: psycopg.Connection[Any], seed: int) -> None:
        self.worlds, self.words, self.admin, self.dice = worlds, words, admin, random.Random(seed)

    def next(self) -> Question:
        """A random question, most of the big tenant's people."""
        dice = self.dice
        world = self.worlds[0] if dice.random() < 0.9 else dice.choice(self.worlds[1:])
        member = 0 if dice.random() < EVERYWHERE_SHARE else dice.randrange(1, len(world.members))
        kind = dice.choices(("said", "phrase", "common", "word", "canary"), (60, 12, 15, 10, 3))[0]
        if kind == "common":
            return Question(kind, world, member, " ".join(dice.sample(self.words[:COMMON_WORDS], dice.randint(1, 2))))
        if kind == "word":
            return Question(kind, world, member, dice.choice(self.words[: len(self.words) // 10]))
        if kind == "canary":
            other = dice.choice([each for each in self.worlds if each is not world])
            return Question(kind, world, member, dice.choice(other.canaries))
        said = self._said(world, world.members[member]).split()
        if kind == "phrase" and len(said) > 1:
            at = dice.randrange(len(said) - 1)
            return Question(kind, world, member, f'"{said[at]} {said[at + 1]}"')
        return Question("said", world, member, " ".join(dice.sample(said, min(len(said), dice.randint(1, 3)))))

    def _said(self, world: World, member: uuid.UUID) -> str:
        """A message of one of the member's rooms."""
        for _ in range(20):
            rooms = world.rooms_of[member]
            if not rooms:
                break
            row = self.admin.execute(
                "SELECT text FROM chat_message WHERE tenant_id = %s AND room_id = %s ORDER BY id OFFSET %s LIMIT 1",
                (world.tenant, self.dice.choice(rooms), self.dice.randrange(20)),
            ).fetchone()
            if row:
                return str(row[0])
        return self.words[100]


def main() -> int:
    """Fill, ask, compare, write, judge."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="parley-search-") as folder, _database(Path(folder)) as database:
        import django

        django.setup()
        with psycopg.connect(database, autocommit=True) as admin:
            words = vocabulary(random.Random(options.seed))
            worlds = _filled(admin, options, words)
            _sizes(admin)
            asking = Asking(worlds, words, admin, options.seed)
            outcome = asyncio.run(_measured(admin, worlds, asking, options))
    return _report(outcome, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--sample", type=int, default=60)
    parser.add_argument("--writes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--explain", action="store_true")
    return parser.parse_args()


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[str]:
    """The administrator's URL of a prepared database that writes to disk."""
    from config.embedded.testing import throwaway_servers

    with throwaway_servers(folder / "home", durable=True) as servers:
        os.environ |= {"DATABASE_URL": servers.admin_database_url, "REDIS_URL": servers.redis_url}
        os.environ |= {name: secrets.token_hex(32) for name in ("PARLEY_KEY_PEPPER", "PARLEY_JWT_KEY")}
        subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        yield servers.admin_database_url


def _filled(admin: psycopg.Connection[Any], options: argparse.Namespace, words: list[str]) -> list[World]:
    """The tenants with their rooms and messages. The index is made when all are in: it takes less time."""
    from tenants.services.provisioning import add_member, create_tenant

    dice = random.Random(options.seed)
    worlds, counts = [], []
    for number in range(1 + NEIGHBOURS):
        count = options.messages if number == 0 else max(200, int(options.messages * NEIGHBOURS_SHARE))
        slug = f"search-{number}-{secrets.token_hex(4)}"
        tenant = create_tenant(slug=slug, owner_email=f"owner@{slug}.example").tenant.id
        joined = [
            add_member(slug=slug, email=f"p{place}@{slug}.example", role="member", name=f"P{place}")
            for place in range(max(8, min(PEOPLE_MAX, count // 500)))
        ]
        world = World(tenant, slug, [each.membership.id for each in joined], [each.person.id for each in joined])
        people_rooms(world, messages=count, dice=dice)
        worlds.append(world)
        counts.append(count)
    began = time.monotonic()
    for world in worlds:
        _make_rooms(admin, world)
    (definition,) = admin.execute("SELECT pg_get_indexdef('message_search'::regclass)").fetchone() or ("",)
    admin.execute("DROP INDEX message_search")
    with admin.cursor().copy(
        "COPY chat_message (tenant_id, id, room_id, author_kind, author_membership_id, parts, text, created_at) FROM STDIN"
    ) as copy:
        for tenant, id_, room, author, text, at in rows(
            list(zip(worlds, counts, strict=True)), words, seed=options.seed
        ):
            parts = Jsonb([{"type": "text", "text": text}])
            copy.write_row((tenant, id_, room, "member", author, parts, text, at))
    loaded = time.monotonic()
    admin.execute("SET maintenance_work_mem = '512MB'")
    admin.execute(str(definition).encode())
    admin.execute("ALTER INDEX message_search ALTER COLUMN 1 SET STATISTICS 1000")
    admin.execute(
        "UPDATE chat_room r SET head_seq = m.said, last_message_at = m.latest, last_id = m.last_id "
        "FROM (SELECT room_id, count(*) AS said, max(created_at) AS latest, "
        "(array_agg(id ORDER BY id DESC))[1] AS last_id FROM chat_message GROUP BY 1) m "
        "WHERE m.room_id = r.id"
    )
    admin.execute("VACUUM ANALYZE")
    # What filling left to be written would else be written while it is measured.
    admin.execute("CHECKPOINT")
    print(
        f"filled: {sum(counts):,} messages in {loaded - began:.0f} s, index and vacuum {time.monotonic() - loaded:.0f} s"
    )
    return worlds


def _make_rooms(admin: psycopg.Connection[Any], world: World) -> None:
    from kernel.ids import uuid7

    with admin.cursor().copy("COPY chat_room (tenant_id, id, kind, title, created_by_id, settings) FROM STDIN") as copy:
        for room in world.rooms:
            copy.write_row((world.tenant, room, "shared", "Room", world.members[0], Jsonb({})))
    with admin.cursor().copy("COPY chat_roommember (tenant_id, id, room_id, membership_id, role) FROM STDIN") as copy:
        for member, rooms in world.rooms_of.items():
            for room in rooms:
                copy.write_row(
                    (world.tenant, uuid7(), room, member, "owner" if member == world.members[0] else "member")
                )


def _sizes(admin: psycopg.Connection[Any]) -> None:
    row = admin.execute(
        "SELECT pg_size_pretty(pg_relation_size('chat_message')), pg_size_pretty(pg_relation_size('message_search'))"
    ).fetchone()
    print(f"sizes: messages {row[0] if row else '?'}, index of words {row[1] if row else '?'}")


async def _measured(
    admin: psycopg.Connection[Any], worlds: list[World], asking: Asking, options: argparse.Namespace
) -> Outcome:
    from chat import lifecycle
    from kernel import adb, redis

    outcome = Outcome()
    try:
        for _ in range(WARM_UP):
            await _ask(asking.next(), Outcome())
        answered = []
        for number in range(options.queries):
            question = asking.next()
            hits = await _ask(question, outcome)
            if number % max(1, options.queries // max(1, options.sample)) == 0:
                answered.append((question, hits))
        # After all questions: reading everything takes the place of what they would find in memory.
        for question, hits in answered:
            _compare(admin, question, hits, outcome)
        await _write(worlds[0], asking, outcome, options.writes)
        if options.explain:
            _explain(admin, asking)
    finally:
        await lifecycle.close()
        await adb.close()
        await redis.close()
    return outcome


def _principal(world: World, member: int) -> Any:
    from tenants.permissions import effective_permissions
    from tenants.principals import Principal

    return Principal(
        kind="member",
        tenant_id=world.tenant,
        membership_id=world.members[member],
        person_id=world.people[member],
        role="member",
        permissions=effective_permissions("member"),
    )


async def _ask(question: Question, outcome: Outcome) -> list[uuid.UUID]:
    from chat.search import Asked, search_messages

    began = time.perf_counter()
    found = await search_messages(
        member=_principal(question.world, question.member), asked=Asked(words=question.words), limit=PAGE
    )
    took = time.perf_counter() - began
    outcome.seconds.setdefault(question.kind, []).append(took)
    if question.member == 0:
        outcome.everywhere.append(took)
    mine = set(question.world.rooms_of[question.world.members[question.member]])
    outcome.strangers += sum(hit.room not in mine for hit in found.hits)
    if question.kind == "canary":
        outcome.canaries += len(found.hits)
    else:
        outcome.asked += 1
        outcome.found += bool(found.hits)
    outcome.capped[question.kind] += found.capped
    return [hit.message for hit in found.hits]


def _compare(admin: psycopg.Connection[Any], question: Question, hits: list[uuid.UUID], outcome: Outcome) -> None:
    """Read every message of the member's rooms, without an index of words."""
    member = question.world.members[question.member]
    brute = admin.execute(
        "SELECT id FROM (SELECT m.id, ts_rank(w.words, q.asked) AS rank FROM chat_message m, "
        "websearch_to_tsquery('public.parley_words', %s) q (asked), to_tsvector('public.parley_words', m.text) w (words) "
        "WHERE m.tenant_id = %s AND m.room_id = ANY (%s) AND w.words @@ q.asked "
        "ORDER BY m.id DESC LIMIT %s) newest ORDER BY rank DESC, id DESC LIMIT %s",
        (
            question.words,
            question.world.tenant,
            question.world.rooms_of[member],
            BRUTE_RANKED_MAX,
            PAGE,
        ),
    ).fetchall()
    outcome.compared += 1
    if [row[0] for row in brute] != hits:
        outcome.differing.append(f"{question.kind}: {question.words}")


async def _write(world: World, asking: Asking, outcome: Outcome, count: int) -> None:
    """Say something in a room through the service, and measure its bare row as well."""
    from chat.services.messages import send_message
    from chat.services.rooms import create_room
    from chat.store import transaction
    from kernel.ids import uuid7

    dice, member = random.Random(2), _principal(world, 0)
    room = await create_room(member=member, kind="private", title="Writing")
    for number in range(-WARM_UP, count):
        text = " ".join(dice.choice(asking.words) for _ in range(dice.randint(5, 60)))
        began = time.perf_counter()
        await send_message(member=member, room_id=room.id, text=text, generate=False)
        took = time.perf_counter() - began
        async with transaction(world.tenant) as connection:
            began = time.perf_counter()
            await connection.execute(
                b"INSERT INTO chat_message (tenant_id, id, room_id, author_kind, author_membership_id, parts, text) "
                b"VALUES (%s, %s, %s, 'member', %s, '[]', %s)",
                (world.tenant, uuid7(), room.id, member.membership_id, text),
            )
            inserted = time.perf_counter() - began
        if number >= 0:
            outcome.writes.append(took)
            outcome.inserts.append(inserted)


def _explain(admin: psycopg.Connection[Any], asking: Asking) -> None:
    """What the function's statements do, by PostgreSQL's own account."""
    admin.execute("LOAD 'auto_explain'")
    admin.execute("SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on")
    admin.execute("SET auto_explain.log_analyze = on; SET client_min_messages = log; SET auto_explain.log_timing = off")
    admin.add_notice_handler(lambda notice: print(notice.message_primary))
    for words in (asking.words[0], asking.words[300], asking.words[20_000]):
        print(f"--- {words}")
        with admin.transaction():
            world = asking.worlds[0]
            admin.execute("SELECT set_config('app.tenant_id', %s, true)", (str(world.tenant),))
            admin.execute("SELECT set_config('app.person_id', %s, true)", (str(world.people[1]),))
            admin.execute(
                "SELECT * FROM lookup.search_messages(%s, NULL, NULL, NULL, NULL, NULL, NULL, 20)", (words,)
            ).fetchall()


def _report(outcome: Outcome, options: argparse.Namespace) -> int:
    """Print, and the exit code."""
    every = [took for seconds in outcome.seconds.values() for took in seconds]
    for kind, seconds in [*sorted(outcome.seconds.items()), ("everywhere", outcome.everywhere), ("all", every)]:
        times = " / ".join(f"{percentile(seconds, share) * 1e3:.1f}" for share in (0.5, 0.95, 0.99))
        print(
            f"  {kind:11} {len(seconds):6,}  p50 / p95 / p99 {times} ms, longest {max(seconds) * 1e3:.1f} ms,"
            f" capped {outcome.capped[kind]:,}"
        )
    writes, inserts = outcome.writes, outcome.inserts
    for name, seconds in (("a row", inserts), ("all of it", writes)):
        print(f"  {name:11} p50 / p95 {percentile(seconds, 0.5) * 1e3:.2f} / {percentile(seconds, 0.95) * 1e3:.2f} ms")
    share = outcome.found / max(1, outcome.asked)
    everything, row, said = percentile(every, 0.95), percentile(inserts, 0.95), percentile(writes, 0.5)
    differ, strange, canaries = outcome.differing, outcome.strangers, outcome.canaries
    lines = {
        f"search p95 {everything * 1e3:.1f} ms": everything <= QUERY_P95_S,
        f"{share:.1%} of {outcome.asked:,} questions find something": share >= FOUND_SHARE,
        f"{outcome.compared} compared with brute force, {len(differ)} differ {differ[:3]}": outcome.compared
        and not differ,
        f"of {len(every):,}: {strange} rows of rooms not one's own, {canaries} canaries of others": not strange
        + canaries,
        f"writing a message's row with its words p95 {row * 1e3:.2f} ms": row <= WRITE_S,
        f"saying it, with all it takes, p50 {said * 1e3:.2f} ms": said <= WRITE_S,
    }
    for line, holds in lines.items():
        print(f"  {'ok  ' if holds else 'FAIL'} {line}")
    return 0 if all(lines.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
