"""What benchmarks run against: a Parley of their own, in a home that is thrown away, and upstreams on loopback."""

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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "platform"))

from config.embedded.home import Home  # noqa: E402

READY = re.compile(r"Parley is ready at (http://\S+)")
START_S = 90.0
STOP_S = 30.0


@dataclass(frozen=True)
class Stack:
    """A running Parley."""

    url: str
    environment: dict[str, str]
    pid: int
    web_pid: int

    def manage(self, *arguments: str) -> dict[str, str]:
        """Run a command; its answer."""
        command = [sys.executable, "manage.py", *arguments, "--json"]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=True)
        answer: dict[str, str] = json.loads(done.stdout)
        return answer

    def new_tenant(self) -> dict[str, str]:
        """A new tenant, as `create_tenant` tells of it."""
        slug = f"bench-{secrets.token_hex(4)}"
        return self.manage("create_tenant", slug, "--owner", f"owner@{slug}.example")

    def tenant(self) -> str:
        """A new tenant's API key."""
        return self.new_tenant()["api_key"]

    def interactive_key(self, slug: str) -> str:
        """Another API key of a tenant, whose requests may be interactive."""
        return self.manage("create_api_key", slug, "--name", "interactive", "--max-priority", "interactive")["api_key"]

    def database_url(self) -> str:
        """Its database, as the administrator."""
        return Home(Path(self.environment["PARLEY_HOME"])).database_url()

    def model(self, alias: str, base_url: str) -> None:
        """Offer the model of an upstream."""
        self.manage(
            *("add_provider", "openai-compatible", "--name", alias, "--base-url", base_url, "--api-key", "none"),
            *("--model", alias, "--input-price", "1", "--output-price", "2"),
        )

    def cpu_s(self) -> float:
        """The CPU time that all of its processes have used, the servers it started among them."""
        return sum(_cpu_s(pid) for pid in _tree(self.pid))

    def memory_mib(self) -> float:
        """What the web process holds."""
        pages = int(Path(f"/proc/{self.web_pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextlib.contextmanager
def running(*, workers: int = 1) -> Iterator[Stack]:
    """A Parley of one's own, with so many web processes."""
    with tempfile.TemporaryDirectory(prefix="parley-bench-") as folder:
        home = Path(folder) / "home"
        theirs = ("DATABASE_URL", "REDIS_URL", "PARLEY_MASTER_KEY", "PARLEY_KEY_PEPPER", "PARLEY_JWT_KEY")
        environment = {name: value for name, value in os.environ.items() if name not in theirs}
        environment |= {"PARLEY_HOME": str(home), "LOG_LEVEL": "ERROR"}
        log = Path(folder) / "log"
        command = [sys.executable, "manage.py", "up", "--home", str(home), "--port", "0", "--no-local-model"]
        command += ["--workers", str(workers)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            url = _ready(process, log)
            record = json.loads((home / "run" / "children.json").read_text())
            pid = next(item["pid"] for item in record if item["name"].startswith("web"))
            yield Stack(url, environment, process.pid, pid)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(STOP_S)


def home_at(folder: Path) -> Home:
    """The embedded servers whose home is there."""
    return Home(folder)


def _tree(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ready(process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := READY.findall(log.read_text(errors="replace")):
            return str(found[-1])
        time.sleep(0.1)
    raise SystemExit(f"Parley did not start:\n{log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def slow_upstream(*, work_s: float, at_once: int) -> Iterator[str]:
    """An upstream that works on so many requests at once, each for so long; its base URL."""
    with _program("bench.slow_upstream", "--work-s", str(work_s), "--at-once", str(at_once)) as url:
        yield url


@contextlib.contextmanager
def quick_upstream(*, first_ms: float = 0, gap_ms: float = 0) -> Iterator[str]:
    """An upstream that answers at once, or streams with these delays; its base URL."""
    with _program("bench.quick_upstream", "--first-ms", str(first_ms), "--gap-ms", str(gap_ms)) as url:
        yield url


@contextlib.contextmanager
def _program(*arguments: str) -> Iterator[str]:
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)
