"""`manage.py up` as a person meets it: it starts, survives, stops, and comes back with everything."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.supervisor.processes import ProcessIdentity, is_running, recorded
from tests.config.conftest import wait_for
from tests.config.test_serve import status_of

pytestmark = [pytest.mark.no_database, pytest.mark.timeout(180)]
ROOT = Path(__file__).resolve().parents[2]
READY_WAIT_S = 90.0
OWN_SERVERS = ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_PLATFORM_URL", "REDIS_URL", "PARLEY_HOME")


class Up:
    """One `manage.py up`."""

    def __init__(self, home: Path, log: Path, *arguments: str) -> None:
        self.home = home
        self._log = log
        environment = {name: value for name, value in os.environ.items() if name not in OWN_SERVERS}
        command = [sys.executable, str(ROOT / "manage.py"), "up", "--home", str(home), "--no-local-model"]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, *arguments], stdout=output, stderr=output, env=environment, cwd=home.parent
            )

    @property
    def output(self) -> str:
        """The log so far."""
        return self._log.read_text(errors="replace")

    @property
    def port(self) -> int:
        """The port it says it is ready at, or 0."""
        found = re.search(r"^Parley is ready at http://127\.0\.0\.1:(\d+)$", self.output, re.MULTILINE)
        return int(found[1]) if found else 0

    @property
    def children(self) -> list[ProcessIdentity]:
        """The processes it runs."""
        return recorded(self.home / "run" / "children.json")

    def child(self, name: str) -> ProcessIdentity:
        """One of them."""
        return next(child for child in self.children if child.name == name)

    def wait_until_ready(self) -> None:
        """Wait for the line that says so, and for worker and beat."""
        with contextlib.suppress(AssertionError):
            wait_for(lambda: self.port or self.process.poll() is not None, timeout_s=READY_WAIT_S)
        assert self.port, self.output
        wait_for(lambda: {"worker", "beat"} <= {child.name for child in self.children}, what="worker and beat")

    def stop(self, stop_signal: signal.Signals) -> float:
        """Stop it; how long that took, in seconds."""
        begin = time.monotonic()
        self.process.send_signal(stop_signal)
        assert self.process.wait(30) == 0, self.output
        return time.monotonic() - begin


Starter = Callable[..., Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Start `up`, by default with the same home folder and a free port."""
    started: list[Up] = []

    def begin(*arguments: str) -> Up:
        log = tmp_path / f"up{len(started)}.log"
        started.append(Up(tmp_path / "the home", log, *(arguments or ("--port", "0"))))
        return started[-1]

    yield begin
    for up in started:
        up.process.kill()
        up.process.wait()


def sockets_in(folder: Path) -> list[Path]:
    """The sockets below a folder."""
    return [path for path in folder.rglob("*") if path.is_socket()]


def test_it_runs_survives_and_comes_back(start: Starter) -> None:
    first = start("--port", "0", "--workers", "2")
    first.wait_until_ready()
    assert status_of(first.port) == 200
    assert {child.name for child in first.children} == {"postgres", "valkey", "web.0", "web.1", "worker", "beat"}

    same_home = start()
    assert same_home.process.wait(20) == 2
    assert f"already runs in {first.home} (process {first.process.pid})" in same_home.output
    same_port = start("--port", str(first.port))
    assert same_port.process.wait(20) == 2
    assert f"Port {first.port} on 127.0.0.1 is taken" in same_port.output

    killed = first.child("web.0")
    os.kill(killed.pid, signal.SIGKILL)
    wait_for(lambda: first.child("web.0") != killed, what="another web.0")
    assert status_of(first.port) == 200
    children = first.children
    os.kill(first.process.pid, signal.SIGKILL)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
    first.process.wait()

    begin = time.monotonic()
    second = start()
    second.wait_until_ready()
    assert time.monotonic() - begin < 30, "10 s on a machine that does nothing else"
    assert not [child for child in children if is_running(child)]
    assert status_of(second.port) == 200
    assert second.output.count("Applying") == 0, "the data is still there"
    children = second.children
    assert second.stop(signal.SIGINT) < 10
    assert not [child for child in children if is_running(child)]
    assert not sockets_in(second.home)


def test_a_bad_external_database_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "OWN_SERVERS", ())
    monkeypatch.setenv("DATABASE_URL", "mysql://nowhere")
    up = Up(tmp_path / "home", tmp_path / "log", "--port", "0")
    assert up.process.wait(60) == 1
    assert "DATABASE_URL" in up.output
    assert "can't start with this environment" in up.output
