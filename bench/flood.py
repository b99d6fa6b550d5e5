"""What happens when far more is asked for than can be answered.

    python -m bench.flood                    # about ten minutes; --samples 1000 for a look

Starts a Parley of its own (one web process, a home that is thrown away) and slow upstreams on loopback, and measures from
outside, by requests that start when they are due:

    flood        five times what the upstream can do: every answer is 200, 429 or 503, the last two with Retry-After
    batch        interactive requests keep their latency while batch fills all that it may
    neighbour    a tenant at a fifth of the capacity, alone and beside one who floods: its p95 may grow by a quarter
    streams      1,000 at once through one process

Exits with 1 if one of these doesn't hold."""

import argparse
import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.openloop import Client, Shot, at_once, chat_request, open_loop, percentile, statuses

ROOT = Path(__file__).resolve().parents[1]
READY = re.compile(r"Parley is ready at (http://\S+)")
START_S = 90.0
WORK_S = 0.2
AT_ONCE = 40
CAPACITY_PER_S = AT_ONCE / WORK_S
FLOOD_TIMES = 5
ALLOWED = {200, 429, 503}
STREAMS = 1_000
STREAM_S = 20.0


@dataclass(frozen=True)
class Stack:
    """A running Parley."""

    url: str
    environment: dict[str, str]
    web_pid: int

    def manage(self, *arguments: str) -> dict[str, str]:
        """Run a command; its answer."""
        command = [sys.executable, "manage.py", *arguments, "--json"]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=True)
        answer: dict[str, str] = json.loads(done.stdout)
        return answer

    def tenant(self) -> str:
        """A new tenant's API key."""
        slug = f"flood-{secrets.token_hex(4)}"
        return self.manage("create_tenant", slug, "--owner", f"owner@{slug}.example")["api_key"]

    def model(self, alias: str, base_url: str) -> None:
        """Offer the model of an upstream."""
        self.manage(
            *("add_provider", "openai-compatible", "--name", alias, "--base-url", base_url, "--api-key", "none"),
            *("--model", alias, "--input-price", "1", "--output-price", "2"),
        )

    def memory_mib(self) -> float:
        """What the web process holds."""
        pages = int(Path(f"/proc/{self.web_pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextlib.contextmanager
def running() -> Iterator[Stack]:
    """A Parley of one's own."""
    with tempfile.TemporaryDirectory(prefix="parley-flood-") as folder:
        home = Path(folder) / "home"
        theirs = ("DATABASE_URL", "REDIS_URL", "PARLEY_MASTER_KEY", "PARLEY_KEY_PEPPER", "PARLEY_JWT_KEY")
        environment = {name: value for name, value in os.environ.items() if name not in theirs}
        environment |= {"PARLEY_HOME": str(home), "LOG_LEVEL": "ERROR"}
        log = Path(folder) / "log"
        command = [sys.executable, "manage.py", "up", "--home", str(home), "--port", "0", "--no-local-model"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            url = _ready(process, log)
            record = json.loads((home / "run" / "children.json").read_text())
            pid = next(item["pid"] for item in record if item["name"].startswith("web"))
            yield Stack(url, environment, pid)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def _ready(process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := READY.findall(log.read_text(errors="replace")):
            return str(found[-1])
        time.sleep(0.1)
    raise SystemExit(f"Parley did not start:\n{log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def upstream(*, work_s: float, at_once: int) -> Iterator[str]:
    """A slow upstream; its base URL."""
    command = [sys.executable, "-m", "bench.slow_upstream", "--work-s", str(work_s), "--at-once", str(at_once)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)


class Table:
    """What was measured, and whether it is as it should be."""

    def __init__(self) -> None:
        self.failed = 0

    def row(self, name: str, shots: Sequence[Shot], holds: bool, note: str = "") -> None:
        """Print a line. Latencies are of what was answered with 200."""
        self.failed += not holds
        good = [shot.whole_s * 1000 for shot in shots if shot.status == 200]
        print(
            f"{name:34} {len(shots):7} {percentile(good, 0.5):8.0f} {percentile(good, 0.95):8.0f} "
            f"{max((shot.whole_s for shot in shots), default=0):7.1f}  {statuses(shots):28} {note}"
            + ("" if holds else "   << FAILS"),
            flush=True,
        )


def p95(shots: Sequence[Shot]) -> float:
    """Of the answers with 200, in seconds."""
    return percentile([shot.whole_s for shot in shots if shot.status == 200], 0.95)


def polite(shots: Sequence[Shot]) -> bool:
    """Whether everything was answered, and what was refused says when to come back."""
    return all(shot.status in ALLOWED and (shot.status == 200 or bool(shot.retry_after)) for shot in shots)


async def measure(stack: Stack, table: Table, samples: int) -> None:
    """All of it, one after the other."""
    flooder, neighbour = stack.tenant(), stack.tenant()
    client = Client(stack.url)
    flood = chat_request(stack.url, flooder, model="slow")
    small = chat_request(stack.url, neighbour, model="slow")
    batch = chat_request(stack.url, flooder, model="slow", headers=("x-parley-priority: batch",))
    flood_per_s, fifth_per_s = FLOOD_TIMES * CAPACITY_PER_S, CAPACITY_PER_S / 5
    seconds = samples / fifth_per_s
    await open_loop(client, small, per_s=fifth_per_s, count=200)

    shots = await open_loop(client, flood, per_s=flood_per_s, count=int(flood_per_s * min(seconds, 30)))
    table.row(f"flood, {flood_per_s:.0f}/s", shots, polite(shots) and any(shot.status != 200 for shot in shots))

    alone = await open_loop(client, small, per_s=fifth_per_s, count=samples)
    table.row(f"neighbour alone, {fifth_per_s:.0f}/s", alone, all(shot.status == 200 for shot in alone))

    async with _meanwhile(client, batch, per_s=2 * CAPACITY_PER_S, seconds=min(seconds, 60) + 5) as background:
        beside = await open_loop(client, small, per_s=fifth_per_s, count=min(samples, int(60 * fifth_per_s)))
    table.row("  beside batch", beside, p95(beside) <= 1.25 * p95(alone), f"{p95(beside) / p95(alone):.2f} x alone")
    table.row(f"  that batch, {2 * CAPACITY_PER_S:.0f}/s", await background, polite(await background))

    async with _meanwhile(client, flood, per_s=flood_per_s, seconds=seconds + 5) as background:
        beside = await open_loop(client, small, per_s=fifth_per_s, count=samples)
    table.row("  beside a flood", beside, p95(beside) <= 1.25 * p95(alone), f"{p95(beside) / p95(alone):.2f} x alone")
    table.row(f"  that flood, {flood_per_s:.0f}/s", await background, polite(await background))

    before = stack.memory_mib()
    stream = chat_request(stack.url, neighbour, model="streams", stream=True)
    shots = await at_once(client, stream, count=STREAMS)
    note = f"{before:.0f} MiB before, {stack.memory_mib():.0f} after"
    table.row(f"{STREAMS} streams of {STREAM_S:.0f} s at once", shots, all(shot.status == 200 for shot in shots), note)
    await client.close()


@contextlib.asynccontextmanager
async def _meanwhile(client: Client, request: bytes, *, per_s: float, seconds: float):  # type: ignore[no-untyped-def]
    """Other traffic, which has begun 5 s before the block and is awaited after it."""
    other = asyncio.create_task(open_loop(client, request, per_s=per_s, count=int(per_s * seconds), seed=2))
    await asyncio.sleep(5.0)
    yield other


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    options = parser.parse_args()
    table = Table()
    with (
        upstream(work_s=WORK_S, at_once=AT_ONCE) as slow,
        upstream(work_s=STREAM_S, at_once=2 * STREAMS) as streams,
        running() as stack,
    ):
        stack.model("slow", slow)
        stack.model("streams", streams)
        print(f"{'':34} {'asked':>7} {'p50 ms':>8} {'p95 ms':>8} {'max s':>7}  answers")
        asyncio.run(measure(stack, table, options.samples))
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
