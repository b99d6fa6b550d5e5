"""One child process over its restarts."""

import asyncio
import contextlib
import os
import signal
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections import deque

from config.supervisor.console import Console
from config.supervisor.processes import ProcessIdentity, identify, kill_group
from config.supervisor.spec import ChildSpec

DEATHS_MAX = 5
DEATHS_WINDOW_S = 60.0
BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 5.0
LAST_WORDS_LINES = 20
LINE_MAX_BYTES = 32 * 1024
OUTPUT_DRAIN_S = 0.5
HURRY_WAIT_S = 0.7
KILL_WAIT_S = 0.5


class ChildFailed(RuntimeError):
    """A child died too often, or was not ready in time. Carries its last lines."""

    def __init__(self, name: str, reason: str, last_words: list[str]) -> None:
        super().__init__(f"{name} {reason}")
        self.name = name
        self.last_words = last_words


class Child:
    """A process that is started again when it ends, until `stop`."""

    def __init__(self, spec: ChildSpec, console: Console) -> None:
        self.spec = spec
        self.process: Process | None = None
        self.identity: ProcessIdentity | None = None
        self._console = console
        self._stopping = asyncio.Event()
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS_LINES)
        self._output: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process, in a session of its own. It writes to the console."""
        if self._stopping.is_set():
            return
        if self.spec.before_start:
            self.spec.before_start()
        # A pipe of our own: asyncio's would keep `wait` waiting for every descendant that has it open.
        reading, writing = os.pipe()
        try:
            self.process = await asyncio.create_subprocess_exec(
                *self.spec.launch.wrap(self.spec.command),
                stdin=DEVNULL,
                stdout=writing,
                stderr=STDOUT,
                env=dict(self.spec.environment),
                pass_fds=self.spec.pass_fds,
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self.identity = identify(self.spec.name, self.process.pid)
        self._output = asyncio.create_task(self._copy_output(reading), name=f"output of {self.spec.name}")
        if self._stopping.is_set():
            kill_group(self.process.pid, signal.SIGKILL)

    async def wait_until_ready(self) -> None:
        """Wait for the probe's yes, over restarts. Raises `ChildFailed` after `ready_timeout_s`."""
        if self.spec.ready is None:
            return
        deadline = time.monotonic() + self.spec.ready_timeout_s
        pause_s = 0.02
        while not (self.alive and await self.spec.ready()):
            if time.monotonic() > deadline:
                raise self.failed(f"was not ready within {self.spec.ready_timeout_s:.0f} s")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.2)

    async def run_next_life(self) -> bool:
        """Wait for the process to end and start it again; False once it was told to stop. Raises `ChildFailed`."""
        assert self.process is not None  # noqa: S101
        status = await self.process.wait()
        await self._finish_life(self.process)
        if self._stopping.is_set():
            return False
        now = time.monotonic()
        self._deaths.append(now)
        recent = sum(1 for death in self._deaths if now - death <= DEATHS_WINDOW_S)
        if recent >= DEATHS_MAX:
            raise self.failed(f"died {DEATHS_MAX} times within {DEATHS_WINDOW_S:.0f} s")
        self._console.say(f"{self.spec.name} died ({describe(status)}); starting it again")
        await asyncio.sleep(min(BACKOFF_FIRST_S * 2 ** (recent - 1), BACKOFF_MAX_S))
        if self._stopping.is_set():
            return False
        await self.start()
        return True

    async def run_to_end(self) -> None:
        """Wait for a process that ends by itself. Raises `ChildFailed` unless its exit code is 0."""
        assert self.process is not None  # noqa: S101
        status = await self.process.wait()
        await self._finish_life(self.process)
        if status != 0:
            raise self.failed(f"failed ({describe(status)})")

    def announce_stop(self) -> None:
        """From now on the process is not started again."""
        self._stopping.set()

    async def stop(self, *, budget_s: float) -> None:
        """End the process within about `budget_s`: politely, then less so, then with all its process group."""
        self._stopping.set()
        process = self.process
        if process is None:
            return
        grace_s = min(self.spec.stop_grace_s, budget_s)
        for stop_signal, wait_s in (
            (self.spec.stop_signal, grace_s),
            (self.spec.hurry_signal, min(HURRY_WAIT_S, budget_s)),
            (signal.SIGKILL, KILL_WAIT_S),
        ):
            if stop_signal is None or process.returncode is not None:
                continue
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(stop_signal)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), wait_s)
        await self._finish_life(process)

    def kill(self) -> None:
        """End the process and its group at once."""
        self._stopping.set()
        if self.alive and self.process:
            kill_group(self.process.pid, signal.SIGKILL)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.returncode is None

    async def _finish_life(self, process: Process) -> None:
        """End what the process started and left behind, and take in its last lines."""
        kill_group(process.pid, signal.SIGKILL)
        if self._output is None:
            return
        _, pending = await asyncio.wait([self._output], timeout=OUTPUT_DRAIN_S)
        for task in pending:
            task.cancel()

    async def _copy_output(self, reading: int) -> None:
        stream = asyncio.StreamReader(limit=LINE_MAX_BYTES)
        loop = asyncio.get_running_loop()
        with os.fdopen(reading, "rb") as pipe:
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
            try:
                await self._copy_lines(stream)
            finally:
                transport.close()

    async def _copy_lines(self, stream: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await stream.read(LINE_MAX_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take_line(line)
            if len(rest) > LINE_MAX_BYTES:
                self._take_line(rest)
                rest = b""
        if rest:
            self._take_line(rest)

    def _take_line(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        if self.spec.take_line and self.spec.take_line(text):
            return
        self._last_words.append(text)
        self._console.line(self.spec.name, text)

    def failed(self, reason: str) -> ChildFailed:
        """The error that says so, with the last lines."""
        return ChildFailed(self.spec.name, reason, list(self._last_words))


def describe(status: int) -> str:
    """How a process ended, from its return code."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
