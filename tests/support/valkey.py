"""A Valkey of a test's own, to be stopped, frozen and started again."""

import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

from config.embedded.home import Home
from config.embedded.testing import run_child, wait_until_ready
from config.embedded.valkey import valkey_spec


class Valkey:
    """Listens on a Unix socket below `folder`, once started."""

    def __init__(self, folder: Path) -> None:
        self._home = Home(folder)
        self._home.prepare()
        self._running = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, the same in every life."""
        return self._home.redis_url()

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        spec = valkey_spec(self._home, throwaway=True)
        self._process = self._running.enter_context(run_child(spec, log=self._home.run / "valkey.log"))
        probe_outside_of_loops(spec, self._process)

    def stop(self) -> None:
        """End it."""
        self._running.close()
        self._process = None

    def freeze(self) -> None:
        """Have it answer nothing, its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def probe_outside_of_loops(spec: object, process: subprocess.Popen[bytes]) -> None:
    """`wait_until_ready` runs a loop of its own, which must not be within another."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as thread:
        thread.submit(wait_until_ready, spec, process).result()  # type: ignore[arg-type]
