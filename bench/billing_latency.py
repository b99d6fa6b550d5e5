"""How long a hold and its settlement take, through the ledger's own interface, on a PostgreSQL that writes to disk.

    python -m bench.billing_latency                             # on a PostgreSQL of its own
    python -m bench.billing_latency --only hot --seconds 10

*hot*: one tenant, each request against three hard budgets (the tenant's, a member's, a key's), 500 a second.
*spread*: a thousand tenants with three budgets each, 2,100 a second.
*flat out*: the same tenants, so many requests at once as fast as they go; for information.

Requests are due at random times and start when they are due, whatever became of those before (`bench.pacemaker`); their times
count from then. The loop is the one that the web processes run on, and as there its collector of garbage seldom runs.
At the end the books have to show each request once and nothing held. Exits with 1 where a line doesn't hold.

`--database` names the administrator's URL of an installation's database, made for this, in place of one of its own; its
REDIS_URL and secrets are then in the environment.
"""

import argparse
import asyncio
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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("LOG_LEVEL", "ERROR")

from bench.openloop import percentile  # noqa: E402
from bench.pacemaker import ticks  # noqa: E402

HOT_PER_S, HOT_P99_S = 500.0, 0.005
SPREAD_PER_S, SPREAD_AT_LEAST_PER_S = 2_100.0, 2_000.0
LANES = 256
LIMIT_NANO = 10**15
INPUT_MAX, CAP_MAX = 50, 200
WARM_ROUNDS = 500
PARTS = ("hot", "spread", "flat")


@dataclass(frozen=True)
class Tenant:
    """Who pays: a member's key of a tenant, with a budget of each."""

    id: uuid.UUID
    member: uuid.UUID
    key: uuid.UUID


@dataclass
class Run:
    """What came of a part: seconds from due to granted, from granted to settled, and both together."""

    name: str
    hold_s: list[float] = field(default_factory=list)
    settle_s: list[float] = field(default_factory=list)
    pair_s: list[float] = field(default_factory=list)
    failed: int = 0
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        """Settled a second."""
        return len(self.pair_s) / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        def times(values: Sequence[float]) -> str:
            return " / ".join(f"{percentile(values, share) * 1e3:.2f}" for share in (0.5, 0.95, 0.99))

        return (
            f"{self.name:9} {len(self.pair_s):8,} {self.per_s:8,.0f}   {times(self.pair_s):>22}   {times(self.hold_s):>22}"
            f"   {times(self.settle_s):>22}"
        )


async def _pair(run: Run, tenant: Tenant, due_s: float, dice: random.Random) -> None:
    """A request: its hold, and at once its settlement."""
    from bench.race_worker import hold_request, used
    from billing.ledger import admit, settle
    from billing.types import Payer
    from kernel.errors import ParleyError

    payer = Payer(tenant.id, "api_key", tenant.member, tenant.key)
    asked = hold_request(payer, input_tokens=dice.randint(0, INPUT_MAX), cap=dice.randint(16, CAP_MAX))
    try:
        hold = await admit(asked)
        granted_s = time.monotonic()
        await settle(hold, (used(asked, dice.randint(0, hold.amount_nano)),))
    except ParleyError as error:
        print(f"{run.name}: {error!r}", file=sys.stderr)
        run.failed += 1
        return
    settled_s = time.monotonic()
    run.hold_s.append(granted_s - due_s)
    run.settle_s.append(settled_s - granted_s)
    run.pair_s.append(settled_s - due_s)


async def _open_loop(name: str, tenants: Sequence[Tenant], *, per_s: float, seconds: float, seed: int) -> Run:
    """Requests of tenants by chance, at random times."""
    run, dice = Run(name), random.Random(seed)
    tasks = []
    began_s = 0.0
    async for due_s in ticks(per_s=per_s, count=round(per_s * seconds), seed=seed):
        began_s = began_s or due_s
        tasks.append(asyncio.create_task(_pair(run, dice.choice(tenants), due_s, dice)))
    await asyncio.gather(*tasks)
    run.seconds = time.monotonic() - began_s
    return run


async def _closed_loop(name: str, tenants: Sequence[Tenant], *, count: int, seed: int) -> Run:
    """So many requests, `LANES` at a time, tenant after tenant."""
    run, dice = Run(name), random.Random(seed)
    places = iter(range(count))

    async def lane() -> None:
        for place in places:
            await _pair(run, tenants[place % len(tenants)], time.monotonic(), dice)

    began_s = time.monotonic()
    await asyncio.gather(*(lane() for _ in range(LANES)))
    run.seconds = time.monotonic() - began_s
    return run


async def _measured(hot: Tenant, spread: Sequence[Tenant], options: argparse.Namespace) -> tuple[list[Run], int]:
    """The parts that were asked for, and how many requests were made besides, to warm up."""
    from billing.ledger import drained
    from config.serve import GC_THRESHOLDS
    from kernel import adb

    runs, parts, seed = [], [options.only] if options.only else PARTS, options.seed
    try:
        warmed = [await _closed_loop("warm", [hot], count=WARM_ROUNDS, seed=seed)]
        if spread:
            warmed.append(await _closed_loop("warm", spread, count=max(WARM_ROUNDS, len(spread)), seed=seed))
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        if "hot" in parts:
            runs.append(await _open_loop("hot", [hot], per_s=options.hot_rate, seconds=options.seconds, seed=seed))
        if "spread" in parts:
            runs.append(
                await _open_loop("spread", spread, per_s=options.spread_rate, seconds=options.seconds, seed=seed + 1)
            )
        if "flat" in parts:
            count = round(SPREAD_AT_LEAST_PER_S * options.seconds)
            runs.append(await _closed_loop("flat out", spread, count=count, seed=seed + 2))
    finally:
        await drained()
        await adb.close()
    return runs, sum(len(run.pair_s) for run in warmed)


def main() -> int:
    """Measure, print, judge."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="parley-latency-") as folder, _database(options, Path(folder)) as database:
        import django

        django.setup()
        import psycopg
        import uvloop

        hot = _tenants(1)[0]
        spread = [] if options.only == "hot" else _tenants(options.tenants)
        runs, warmed = uvloop.run(_measured(hot, spread, options))
        with psycopg.connect(database) as admin:
            ours = [tenant.id for tenant in (hot, *spread)]
            row = admin.execute(
                "SELECT (SELECT count(*) FROM billing_usagerecord WHERE tenant_id = ANY (%(t)s)),"
                " (SELECT count(*) FROM billing_hold WHERE tenant_id = ANY (%(t)s)),"
                " (SELECT coalesce(sum(held), 0) FROM billing_budgetbalance WHERE tenant_id = ANY (%(t)s))",
                {"t": ours},
            ).fetchone()
            assert row is not None
            return _report(runs, warmed, recorded=int(row[0]), holds=int(row[1]), held=int(row[2]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part")
    parser.add_argument("--tenants", type=int, default=1_000, help="of the parts with many")
    parser.add_argument("--hot-rate", type=float, default=HOT_PER_S)
    parser.add_argument("--spread-rate", type=float, default=SPREAD_PER_S)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--database", help="an administrator's URL")
    return parser.parse_args()


@contextlib.contextmanager
def _database(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The database to measure on, in the environment of this process."""
    os.environ["PARLEY_HOME"] = str(folder / "home")  # where the journal is
    if options.database:
        os.environ["DATABASE_URL"] = options.database
        yield options.database
        return
    from config.embedded.testing import throwaway_servers

    with throwaway_servers(folder / "home", durable=True) as servers:
        os.environ |= {"DATABASE_URL": servers.admin_database_url, "REDIS_URL": servers.redis_url}
        os.environ |= {name: secrets.token_hex(32) for name in ("PARLEY_KEY_PEPPER", "PARLEY_JWT_KEY")}
        subprocess.run([sys.executable, "manage.py", "prepare"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        yield servers.admin_database_url


def _tenants(count: int) -> list[Tenant]:
    """New tenants, each with a budget of its own, of a member and of a key."""
    from django.db import transaction

    from billing.models import Budget
    from kernel.tenancy import tenant_scope
    from tenants.services.provisioning import create_tenant

    made = []
    for _ in range(count):
        new = create_tenant(slug=f"latency-{secrets.token_hex(5)}", owner_email="latency@example.com")
        tenant = Tenant(new.tenant.id, new.owner.membership.id, uuid.uuid4())
        with tenant_scope(tenant.id), transaction.atomic():
            Budget.objects.bulk_create(
                Budget(
                    tenant_id=tenant.id,
                    scope=scope,
                    measure="nano",
                    period="total",
                    limit_amount=LIMIT_NANO,
                    mode="hard",
                )
                for scope in ("tenant", f"member:{tenant.member}", f"key:{tenant.key}")
            )
        made.append(tenant)
    return made


def _report(runs: Sequence[Run], warmed: int, *, recorded: int, holds: int, held: int) -> int:
    """Print, and the exit code."""
    print("billing latency: hold + settle; ms are p50 / p95 / p99, from when each was due")
    print(f"{'':9} {'requests':>8} {'per s':>8}   {'both':>22}   {'hold':>22}   {'settle':>22}")
    lines = {}
    for run in runs:
        print(run)
        if run.name == "hot":
            p99_s = percentile(run.pair_s, 0.99)
            lines[f"hot: p99 {p99_s * 1e3:.2f} ms (at most {HOT_P99_S * 1e3:.0f})"] = p99_s <= HOT_P99_S
        if run.name == "spread":
            told = f"spread: {run.per_s:,.0f}/s (at least {SPREAD_AT_LEAST_PER_S:,.0f})"
            lines[told] = run.per_s >= SPREAD_AT_LEAST_PER_S
    made, failed = warmed + sum(len(run.pair_s) for run in runs), sum(run.failed for run in runs)
    lines[f"recorded {recorded:,} of {made:,}, failed {failed}"] = recorded == made and failed == 0
    lines[f"holds left {holds}, held {held} nano"] = (holds, held) == (0, 0)
    for line, is_held in lines.items():
        print(f"  {'ok  ' if is_held else 'FAIL'} {line}")
    return 0 if all(lines.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
