"""All children together: started in groups, watched, and ended in the reverse order."""

import asyncio
import contextlib
import ctypes
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from config.supervisor.child import Child, ChildFailed
from config.supervisor.console import Console
from config.supervisor.processes import adopted_from, record
from config.supervisor.spec import ChildSpec

STOP_BUDGET_S = 8.5
"""For all children together; with the moments that SIGKILL takes, everything is over within 10 s."""
GROUP_BUDGET_MIN_S = 0.5
PR_SET_CHILD_SUBREAPER = 36
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Supervisor:
    """Runs children until it is told to stop, or one of them fails for good.

    `record_path` is where the running children are written down for a later supervisor.
    """

    def __init__(self, console: Console, *, record_path: Path | None = None) -> None:
        self._console = console
        self._record_path = record_path
        self._groups: list[list[Child]] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._leaders: set[int] = set()
        self._end = asyncio.Event()
        self._failure: ChildFailed | None = None

    async def run(self, work: Callable[[], Awaitable[None]]) -> int:
        """Do `work`, which starts the children, then wait for the end. Returns the exit status: 0, or 1 on failure.

        What `work` raises other than `ChildFailed` is raised again, after all children have ended.
        """
        self._console.on_closed = self.request_stop
        _adopt_orphans()
        loop = asyncio.get_running_loop()
        heard = _stop_signals()
        for stop_signal in heard:
            loop.add_signal_handler(stop_signal, self.request_stop)
        begun = asyncio.ensure_future(work())
        ended = asyncio.ensure_future(self._end.wait())
        try:
            await asyncio.wait([begun, ended], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done() and begun.exception() is None:
                await ended
        finally:
            begun.cancel()
            ended.cancel()
            results = await asyncio.gather(begun, ended, return_exceptions=True)
            await self._stop_all()
            for stop_signal in heard:
                loop.remove_signal_handler(stop_signal)
        return self._outcome(results[0])

    async def start(self, specs: Sequence[ChildSpec]) -> None:
        """Start a group of children side by side and wait until all are ready. Raises `ChildFailed`, or what
        a `before_start` raises."""
        if not specs:
            return
        group = [Child(spec, self._console) for spec in specs]
        self._groups.append(group)
        try:
            async with asyncio.TaskGroup() as tasks:
                for child in group:
                    tasks.create_task(self._start_one(child))
        except BaseExceptionGroup as failures:
            raise _first(failures) from None

    async def run_once(self, spec: ChildSpec) -> None:
        """Run a child that ends by itself. Raises `ChildFailed` unless its exit code is 0."""
        child = Child(spec, self._console)
        group = [child]
        self._groups.append(group)
        await child.start()
        self._note(child)
        await child.run_to_end()
        self._groups.remove(group)

    def request_stop(self) -> None:
        """End everything, in order; asked a second time, at once."""
        if self._end.is_set():
            for child in self._children():
                child.kill()
            return
        self._end.set()
        self._console.say("stopping")

    async def _start_one(self, child: Child) -> None:
        begin = time.monotonic()
        await child.start()
        self._note(child)
        self._watchers.append(asyncio.create_task(self._watch(child), name=f"watch {child.spec.name}"))
        await child.wait_until_ready()
        if child.spec.ready:
            self._console.say(f"{child.spec.name} is ready ({time.monotonic() - begin:.1f} s)")

    async def _watch(self, child: Child) -> None:
        try:
            while await child.run_next_life():
                self._note(child)
        except ChildFailed as failure:
            self._failure = self._failure or failure
            self._end.set()
        except (OSError, RuntimeError) as error:
            self._failure = self._failure or child.failed(f"can't be started again: {error}")
            self._end.set()

    def _note(self, child: Child) -> None:
        """Remember whom to end, for ourselves and for who comes after us."""
        self._leaders |= {child.process.pid} if child.process else set()
        self._end_adopted()
        if self._record_path:
            record(self._record_path, [found.identity for found in self._children() if found.identity])

    async def _stop_all(self) -> None:
        groups = self._groups[::-1]
        for child in self._children():
            child.announce_stop()
        deadline = time.monotonic() + STOP_BUDGET_S
        for position, group in enumerate(groups):
            later_s = sum(max(child.spec.stop_grace_s for child in other) for other in groups[position + 1 :])
            budget_s = max(GROUP_BUDGET_MIN_S, deadline - time.monotonic() - later_s)
            await asyncio.gather(*(child.stop(budget_s=budget_s) for child in group))
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for child in self._children():
            child.kill()
        self._end_adopted()
        if self._record_path:
            self._record_path.unlink(missing_ok=True)

    def _end_adopted(self) -> None:
        """End what a dead child left running: it came to us (PR_SET_CHILD_SUBREAPER), in that child's session."""
        alive = {child.process.pid for child in self._children() if child.alive and child.process}
        adopted_from(self._leaders - alive)

    def _outcome(self, result: object) -> int:
        failure = self._failure or result
        if isinstance(failure, ChildFailed):
            self._console.say(f"{failure}. Its last lines:")
            for text in failure.last_words:
                self._console.line(failure.name, text)
            self._console.say("everything was stopped")
            return 1
        if isinstance(failure, BaseException) and not isinstance(failure, asyncio.CancelledError):
            raise failure
        self._console.say("stopped")
        return 0

    def _children(self) -> list[Child]:
        return [child for group in self._groups for child in group]


def _stop_signals() -> list[signal.Signals]:
    """What ends us: not the hang-up of a terminal for those that were started to outlive it (`nohup`)."""
    outlives_terminal = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [one for one in STOP_SIGNALS if one != signal.SIGHUP or not outlives_terminal]


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = failures
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
