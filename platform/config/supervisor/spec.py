"""What a child process is: its command, when it is ready, how it is stopped."""

import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Probe = Callable[[], Awaitable[bool]]
"""Answers at once whether the child can do its work; it never raises."""

_LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class Launch:
    """How the new process is set up before it becomes the command; see `config.supervisor.launch`."""

    death_signal: int = signal.SIGKILL
    uid: int | None = None
    gid: int | None = None
    capability: int | None = None

    def wrap(self, command: tuple[str, ...]) -> list[str]:
        """The command line that sets the process up and then becomes `command` (an absolute path first)."""
        options = {
            "parent": os.getpid(),
            "death_signal": int(self.death_signal),
            "uid": self.uid,
            "gid": self.gid,
            "capability": self.capability,
        }
        return [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(options), "--", *command]


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child process.

    `ready` is asked until it says yes, for at most `ready_timeout_s`; without it a child is ready once started.
    `stop_signal` asks it to end, `hurry_signal` (if any) asks again after `stop_grace_s`, and SIGKILL ends it a
    moment later. `before_start` cleans up after an earlier life, each time before the process is started.
    `take_line` sees each line of output first; it returns True to keep it from the log.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Probe | None = None
    ready_timeout_s: float = 30.0
    stop_signal: signal.Signals = signal.SIGTERM
    hurry_signal: signal.Signals | None = None
    stop_grace_s: float = 3.0
    pass_fds: tuple[int, ...] = ()
    launch: Launch = Launch()
    before_start: Callable[[], None] | None = None
    take_line: Callable[[str], bool] | None = None
