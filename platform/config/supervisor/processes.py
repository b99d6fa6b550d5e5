"""Which running process is whose.

A process id alone proves nothing: it may have gone to another program since. A process is known again by its id, the
tick it started at (field 22 of /proc/PID/stat, proc(5)) and the kernel's boot id. Where there is no /proc, nothing is
known again, and so nothing is ended.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

ORPHAN_GRACE_S = 5.0
KILL_GRACE_S = 2.0
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process for as long as the machine runs. `started` is in clock ticks since boot."""

    name: str
    pid: int
    started: int
    boot: str


def identify(name: str, pid: int) -> ProcessIdentity | None:
    """The identity of a running process, or None when there is none such or nothing can be known."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = _stat_fields(pid)
        if fields[0] != "Z":
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            return ProcessIdentity(name, pid, int(fields[19]), boot)
    return None


def is_running(process: ProcessIdentity) -> bool:
    """Whether exactly this process still runs."""
    return identify(process.name, process.pid) == process


def record(path: Path, processes: Iterable[ProcessIdentity]) -> None:
    """Write down the children, for a later supervisor to find should this one be killed."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps([asdict(process) for process in processes]), encoding="utf-8")
    temporary.replace(path)


def recorded(path: Path) -> list[ProcessIdentity]:
    """The children written down; none when there is no record or it is damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return [ProcessIdentity(**item) for item in json.loads(path.read_text(encoding="utf-8"))]
    return []


def end_orphans(processes: Iterable[ProcessIdentity], *, grace_s: float = ORPHAN_GRACE_S) -> list[str]:
    """End what an earlier supervisor left running; the names of those found. Blocks for at most a few seconds.

    They have had their death signal already, so they get `grace_s` to end, then SIGKILL with their process group.
    """
    left = [process for process in processes if is_running(process)]
    names = [process.name for process in left]
    for stop_signal, wait_s in ((None, grace_s), (signal.SIGKILL, KILL_GRACE_S)):
        for process in left:
            if stop_signal is not None:
                kill_group(process.pid, stop_signal)
        deadline = time.monotonic() + wait_s
        while left and time.monotonic() < deadline:
            time.sleep(_POLL_S)
            left = [process for process in left if is_running(process)]
    return names


def kill_group(leader: int, stop_signal: signal.Signals) -> None:
    """Signal the process group of a child; nothing happens when it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, stop_signal)


def working_in(folder: Path, *, program: str) -> list[int]:
    """The processes of a program (a file name) whose working directory is `folder`, as far as we may know."""
    found = []
    for pid in _processes():
        with contextlib.suppress(OSError):
            # The program of a running process may have been replaced: "postgres (deleted)".
            name = Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)")
            if name == program and Path(f"/proc/{pid}/cwd").readlink() == folder:
                found.append(pid)
    return found


def adopted_from(leaders: set[int]) -> None:
    """End and reap our children that run in the session of a dead `leader`: its descendants, which came to us."""
    for pid in _processes() if leaders else ():
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = _stat_fields(pid)
            if int(fields[1]) == os.getpid() and int(fields[3]) in leaders and pid not in leaders:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on; the second, the name, may hold spaces and brackets."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
