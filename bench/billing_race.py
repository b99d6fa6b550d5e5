"""Whether budgets are ever overspent, or a request is billed twice or not at all, however many race and whoever dies.

    python -m bench.billing_race                                # a million admissions, on a PostgreSQL of its own
    python -m bench.billing_race --admissions 20000 --kills 3
    python -m bench.billing_race --admissions 20000 --kills 3 --members 1 --keys 1 --room 1    # most of it from allowances

Four processes ask for holds a thousand at once (together), each against three budgets: the tenant's, a member's and a key's.
What is used is random between nothing and all of the hold; some requests are sent twice, some never made. A trigger looks at
the limits when each transaction commits, a watcher looks all the time, and processes are killed at random points and started
again. At the end the reaper resolves what they left, what is left is used up until no hold fits, and the books are
compared with the journals that the processes kept. Exits with 1 where a line doesn't hold.

`--database` names the administrator's URL of an installation's database, made for this, in place of one of its own.
"""

import argparse
import contextlib
import os
import random
import secrets
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("LOG_LEVEL", "ERROR")  # each hold that is reaped is a warning

from bench.race_books import TRIGGER, UNTRIGGER, Journal, Verdict, compare  # noqa: E402

MEMBERS, KEYS = 4, 8
TENANT_SHARE, MEMBERS_SHARE, KEYS_SHARE = 0.5, 0.6, 0.6
"""Of what all admissions would use if none were refused, in the three kinds of budgets. Together the members' and the keys' are
more than the tenant's, so that one runs dry in the end."""
MEAN_USE_NANO = 64
LOOK_EVERY_S = 0.02
REAP_EVERY_S = 10.0
REAP_ROUNDS_MAX = 10_000
WORKER_STOP_S = 30.0


@dataclass
class Watched:
    """What the watcher saw: how often it looked, the most that a hard budget was over its limit, the oldest hold."""

    looks: int = 0
    over: int = 0
    oldest_s: float = 0.0


@dataclass
class Race:
    """One run."""

    options: argparse.Namespace
    folder: Path
    database: str
    tenant: uuid.UUID
    members: list[str]
    keys: list[str]
    watched: Watched = field(default_factory=Watched)
    journals: list[Journal] = field(default_factory=list)
    killed: int = 0
    failed: int = 0

    def run(self) -> float:
        """Race. How many seconds it took from the first admission to the last."""
        done = threading.Event()
        helpers = [threading.Thread(target=each, args=(done,)) for each in (self._watch, self._reap)]
        for helper in helpers:
            helper.start()
        try:
            seconds = self._race()
        finally:
            done.set()
            for helper in helpers:
                helper.join()
        self._finish()
        return seconds

    def _race(self) -> float:
        dice = random.Random(self.options.seed)
        total = self.options.admissions
        marks = sorted(dice.uniform(0.05, 0.8) * total for _ in range(self.options.kills))
        shares = [total // self.options.processes] * self.options.processes
        running = [self._start(share, seed) for seed, share in enumerate(shares)]
        began = None
        deadline = time.monotonic() + self.options.within
        while any(process.poll() is None for process, _, _ in running):
            if time.monotonic() > deadline:
                raise SystemExit(f"not done within {self.options.within:.0f} s")
            time.sleep(LOOK_EVERY_S)
            asked = sum(journal.read().asked for journal in self.journals)
            began = began or (time.perf_counter() if asked else None)
            alive = [place for place, (process, _, _) in enumerate(running) if process.poll() is None]
            if marks and asked >= marks[0] and alive:
                marks.pop(0)
                place = dice.choice(alive)
                process, share, journal = running[place]
                process.kill()
                process.wait()
                self.killed += 1
                left = share - journal.read().asked
                running[place] = self._start(left, len(self.journals))
        self.failed = sum(process.returncode != 0 for process, _, _ in running)
        return time.perf_counter() - (began or time.perf_counter())

    def _start(
        self, admissions: int, seed: int, *, drain: bool = False
    ) -> tuple[subprocess.Popen[bytes], int, Journal]:
        journal = Journal(self.folder / f"{len(self.journals)}.journal")
        self.journals.append(journal)
        from bench.race_worker import Orders

        orders = Orders(
            tenant=str(self.tenant),
            members=tuple(self.members),
            keys=tuple(self.keys),
            journal=str(journal.path),
            admissions=admissions,
            concurrency=max(1, self.options.concurrency // self.options.processes),
            seed=self.options.seed * 1_000 + seed,
            room=self.options.room,
            drain=drain,
        )
        command = [sys.executable, "-m", "bench.race_worker", orders.encode()]
        return subprocess.Popen(command, cwd=ROOT), admissions, journal

    def _watch(self, done: threading.Event) -> None:
        import psycopg

        with psycopg.connect(self.database, autocommit=True) as watching:
            while not done.wait(LOOK_EVERY_S):
                row = watching.execute(
                    "SELECT coalesce(max(s.held + s.settled - b.limit_amount), 0), (SELECT coalesce(extract(epoch FROM"
                    " max(clock_timestamp() - h.created_at)), 0) FROM billing_hold h WHERE h.tenant_id = %(tenant)s)"
                    " FROM billing_budgetbalance s JOIN billing_budget b ON b.id = s.budget_id WHERE s.tenant_id = %(tenant)s",
                    {"tenant": self.tenant},
                ).fetchone()
                assert row is not None
                self.watched.looks += 1
                self.watched.over = max(self.watched.over, int(row[0]))
                self.watched.oldest_s = max(self.watched.oldest_s, float(row[1]))

    def _reap(self, done: threading.Event) -> None:
        from billing.services.reaping import reap_holds

        while not done.wait(REAP_EVERY_S):
            reap_holds()

    def _finish(self) -> None:
        """Resolve what the dead left, as it would be a while later, and use up what is left."""
        from datetime import timedelta

        from django.utils import timezone

        from billing.commits import LONGEST_S
        from billing.models import Hold
        from billing.recovery import recover
        from billing.services.reaping import reap_holds
        from kernel.loop import on_loop

        on_loop(recover())
        later = timezone.now() + timedelta(seconds=LONGEST_S)
        for _ in range(REAP_ROUNDS_MAX):
            if not Hold.objects.using("platform").filter(tenant_id=self.tenant).exists():
                break
            reap_holds(now=later)
        process, _, _ = self._start(0, 999, drain=True)
        try:
            self.failed += process.wait(self.options.within) != 0
        finally:
            process.kill()


def main() -> int:
    """Race, print, judge."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="parley-race-") as folder, _database(options, Path(folder)) as database:
        import django

        django.setup()
        import psycopg

        race = _prepared(options, Path(folder), database)
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute(TRIGGER)
            try:
                seconds = race.run()
                verdict = compare(admin, race.tenant, race.journals)
            finally:
                admin.execute(UNTRIGGER)
        return _report(race, verdict, seconds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--admissions", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--concurrency", type=int, default=1_000, help="of all processes together")
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--keys", type=int, default=KEYS, help="of each member")
    parser.add_argument("--room", type=int, default=20, help="allowances are given where so many fit")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--within", type=float, default=3_600.0, help="seconds that it may take")
    parser.add_argument("--database", help="an administrator's URL")
    return parser.parse_args()


@contextlib.contextmanager
def _database(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The database to race on, in the environment for this process and its children."""
    os.environ["PARLEY_HOME"] = str(folder / "home")  # where journals are
    if options.database:
        os.environ["DATABASE_URL"] = options.database
        yield options.database
        return
    from config.embedded.testing import throwaway_servers

    with throwaway_servers(folder / "home") as servers:
        os.environ |= {"DATABASE_URL": servers.admin_database_url, "REDIS_URL": servers.redis_url}
        os.environ |= {name: secrets.token_hex(32) for name in ("PARLEY_KEY_PEPPER", "PARLEY_JWT_KEY")}
        subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        yield servers.admin_database_url


def _prepared(options: argparse.Namespace, folder: Path, database: str) -> Race:
    """A tenant with its budgets."""
    from django.db import transaction

    from billing.models import Budget
    from kernel.tenancy import tenant_scope
    from tenants.services.provisioning import create_tenant

    tenant = create_tenant(slug=f"race-{secrets.token_hex(5)}", owner_email="race@example.com").tenant.id
    members, keys = ([str(uuid.uuid4()) for _ in range(count)] for count in (options.members, options.keys))
    race = Race(options, folder, database, tenant, members, keys)
    demand = options.admissions * MEAN_USE_NANO
    limits = {"tenant": int(demand * TENANT_SHARE)}
    limits |= {f"member:{member}": int(demand * MEMBERS_SHARE / len(members)) for member in members}
    limits |= {f"key:{key}": int(demand * KEYS_SHARE / len(keys)) for key in keys}
    with tenant_scope(tenant), transaction.atomic():
        for scope, limit in limits.items():
            Budget.objects.create(
                tenant_id=tenant, scope=scope, measure="nano", period="total", limit_amount=limit, mode="hard"
            )
    return race


def _report(race: Race, verdict: Verdict, seconds: float) -> int:
    """Print, and the exit code."""
    asked, granted, refused = verdict.asked, verdict.granted, verdict.refused
    share = refused / max(1, granted + refused)
    print(
        f"race: {asked:,} admissions by {race.options.processes} processes, {race.options.concurrency:,} at once, in"
        f" {seconds:.1f} s: {asked / max(seconds, 0.001):,.0f}/s; {race.killed} killed; {verdict.drawn:,} drawn from allowances"
    )
    lines = {
        f"refused {share:.1%} (at least 30 %)": share >= 0.3,
        f"overspent by {max(race.watched.over, verdict.over)} nano ({verdict.commits:,} balances looked at as they were"
        f" committed, {race.watched.looks:,} looks besides)": max(race.watched.over, verdict.over) == 0
        and verdict.commits > 0
        and race.watched.looks > 0,
        f"money left {verdict.left} nano, smallest hold refused {verdict.smallest_refused}": verdict.left
        < verdict.smallest_refused,
        f"holds left {verdict.holds}, oldest ever {race.watched.oldest_s:.1f} s": verdict.holds == 0
        and race.watched.oldest_s < 900,
        f"billed twice {verdict.twice}": verdict.twice == 0,
        f"lost {verdict.lost}, wrong {verdict.wrong}, unknown {verdict.unknown}": not (
            verdict.lost or verdict.wrong or verdict.unknown
        ),
        f"books: {verdict.books}": verdict.books == "balance",
        f"processes that failed {race.failed}, killed {race.killed} of {race.options.kills}": race.failed == 0
        and race.killed == race.options.kills,
    }
    for line, holds in lines.items():
        print(f"  {'ok  ' if holds else 'FAIL'} {line}")
    return 0 if all(lines.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
