"""The supervisor and the embedded servers, tried with real processes."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCE_ROOT = Path(__file__).resolve().parents[2] / "platform"
WAIT_S = 20.0


def wait_for(condition: Callable[[], object], *, what: str = "the condition", timeout_s: float = WAIT_S) -> None:
    """Poll until `condition` holds; fails the test when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {timeout_s} s"
        time.sleep(0.02)


def exists(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Program:
    """A Python program in a process of its own, its output in a file."""

    def __init__(self, folder: Path, text: str, *arguments: str) -> None:
        self.folder = folder
        self.log = folder / "program.log"
        script = folder / "program.py"
        script.write_text(textwrap.dedent(text))
        environment = dict(os.environ) | {"PYTHONPATH": str(SOURCE_ROOT), "PYTHONUNBUFFERED": "1"}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(script), *arguments], stdout=output, stderr=output, env=environment, cwd=folder
            )

    @property
    def output(self) -> str:
        """What it wrote so far."""
        return self.log.read_text()

    def pid_of(self, name: str) -> int:
        """The pid that the child `name` wrote last: a line `name | pid N`."""
        found = [line for line in self.output.splitlines() if line.startswith(name) and "pid " in line]
        return int(found[-1].rpartition("pid ")[2]) if found else 0

    def wait_for_output(self, text: str) -> None:
        """Wait until it wrote `text`."""
        wait_for(lambda: text in self.output or self.process.poll() is not None, what=f"{text!r} in the output")
        assert text in self.output, self.output

    def end(self, stop_signal: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait for its exit status."""
        self.process.send_signal(stop_signal)
        return self.process.wait(WAIT_S)


Start = Callable[..., Program]
"""Starts a program from its text and arguments."""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Start]:
    """Start programs; what still runs at the end of the test is killed."""
    started: list[Program] = []

    def start(text: str, *arguments: str) -> Program:
        folder = tmp_path / f"program{len(started)}"
        folder.mkdir()
        started.append(Program(folder, text, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
