"""Throw-away servers for tests: a PostgreSQL and a Valkey in a folder of their own, in about a second.

They don't survive a crash (fsync is off, unless asked for), end with the `with` block, and end with the process however it ends.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from config.embedded.home import Home, HomeProblem
from config.embedded.postgres import ensure_initialised, postgres_spec
from config.embedded.valkey import valkey_spec
from config.supervisor.processes import kill_group
from config.supervisor.spec import ChildSpec


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers are. `admin_database_url` is a superuser's, of a database that does not exist yet."""

    home: Home
    admin_database_url: str
    redis_url: str


@contextmanager
def throwaway_servers(path: str | os.PathLike[str], *, durable: bool = False) -> Iterator[Servers]:
    """PostgreSQL and Valkey with their home at `path`. Call it from the main thread, which has to outlive them.

    `durable`: PostgreSQL writes to disk as an installation's does, for what measures it.
    """
    home = Home(path)
    home.prepare()
    ensure_initialised(home, durable=durable)
    with contextlib.ExitStack() as running:
        specs = [postgres_spec(home, throwaway=not durable), valkey_spec(home, throwaway=True)]
        started = [(spec, running.enter_context(run_child(spec, log=home.run / f"{spec.name}.log"))) for spec in specs]
        for spec, process in started:
            wait_until_ready(spec, process)
        yield Servers(home=home, admin_database_url=home.database_url(), redis_url=home.redis_url())
    home.clear_sockets()


@contextmanager
def run_child(spec: ChildSpec, *, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run one child process, without restarts, its output in `log`."""
    if spec.before_start:
        spec.before_start()
    with log.open("ab") as output:
        process = subprocess.Popen(
            spec.launch.wrap(spec.command),
            env=dict(spec.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=spec.pass_fds,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(spec.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(spec.stop_grace_s)
        kill_group(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_ready(spec: ChildSpec, process: subprocess.Popen[bytes]) -> None:
    """Block until the child is ready. Raises `HomeProblem` when it ends or takes too long."""
    probe = spec.ready
    if probe is None:
        return

    async def poll() -> None:
        deadline = time.monotonic() + spec.ready_timeout_s
        while not await probe():
            if process.poll() is not None or time.monotonic() > deadline:
                raise HomeProblem(f"{spec.name} did not become ready (exit code {process.returncode}).")
            await asyncio.sleep(0.02)

    asyncio.run(poll())
