"""One web process: `python -m config.serve --fd N`, or `--host H --port P`.

uvicorn closes sockets first and tells the application afterwards. Here it is the other way round: told to stop, the
process drains (see `kernel.lifecycle`), still answering, and only then does uvicorn shut down.
"""

import argparse
import asyncio
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from config.accepting import Board, SharedListener
from config.env import read_env
from kernel import lifecycle, per_loop

APPLICATION = "config.asgi:application"
OPERATORS = "config.ops:operators"
DRAIN_TIMEOUT_S = 8.0
SHUTDOWN_TIMEOUT_S = 1
KEEP_ALIVE_S = 65
BACKLOG = 2048
WEBSOCKET_FRAME_MAX_BYTES = 1024 * 1024
OPEN_FILES = 65_536
"""What a process may have open, if the system lets it. A stream takes two: its client's connection, and its provider's."""
UNREAD_MAX_MS = 60_000
"""For how long the system keeps a connection whose client takes nothing of what was sent."""
GC_THRESHOLDS = (50_000, 20, 50)
"""Of the three generations. By Python's own (700, 10, 10) a busy gateway spends an eighth of its time in collections."""


class DrainingServer(uvicorn.Server):
    """uvicorn's server, which drains before it shuts down. A second signal skips the drain.

    While it drains it takes new connections, and answers that it isn't ready; but not from a listening socket that it
    shares: there, another process takes them.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        drain_timeout_s: float,
        shares_socket: bool = False,
        board: Board | None = None,
        beside: "OperatorsServer | None" = None,
    ) -> None:
        super().__init__(config)
        self._beside = beside
        self._drain_timeout_s = drain_timeout_s
        self._shares_socket = shares_socket
        self._board = board
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop, and through the drain."""
        self._loop = asyncio.get_running_loop()
        per_loop.pin()
        beside = asyncio.create_task(self._beside.serve_beside()) if self._beside else None
        try:
            await super().serve(sockets)
        finally:
            if self._beside and beside:
                self._beside.should_exit = True
                await beside
            per_loop.unpin()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve. What was loaded by now stays: the collector of garbage needn't look at it again, nor, with
        requests that leave few cycles behind, as often as it would by itself.
        """
        await super().startup([] if self._shares_socket else sockets)
        if self._shares_socket:
            self.servers = [self._shared(one) for one in sockets or ()]  # type: ignore[misc]
        for server in self.servers:
            for listening in server.sockets:
                if listening.family in (socket.AF_INET, socket.AF_INET6):
                    # Inherited by what it accepts. The application has let go of such clients before that.
                    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MAX_MS)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        gc.enable()

    def _shared(self, listening: socket.socket) -> SharedListener:
        return SharedListener(
            listening, self._protocol, board=self._board, count=lambda: len(self.server_state.connections)
        )

    def _protocol(self) -> asyncio.Protocol:
        """What serves one connection, as uvicorn makes it."""
        kind: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came: begin to drain, or, if that has begun, shut down at once."""
        if self._drain is not None or self._loop is None or not self.started:
            self.should_exit = True
            self.force_exit = self.force_exit or (sig == signal.SIGINT and self._drain is not None)
            return
        self._drain = asyncio.ensure_future(self._drain_and_exit(), loop=self._loop)
        # A signal handler runs between two steps of the loop, which may be asleep: wake it.
        self._loop.call_soon_threadsafe(lambda: None)

    async def _drain_and_exit(self) -> None:
        if self._shares_socket:
            for server in self.servers:
                server.close()
        try:
            await lifecycle.drain(timeout_s=self._drain_timeout_s)
        finally:
            self.should_exit = True


class OperatorsServer(uvicorn.Server):
    """The operators' listener of a web process, on the same event loop. It goes on through the drain, to say so."""

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                OPERATORS,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
            )
        )
        self._listening = listening

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are for the server beside which it runs."""
        yield

    async def serve_beside(self) -> None:
        """Serve, and sample what can't be counted, until told to exit."""
        from kernel import metrics  # looks at the environment for where to write its numbers

        sampling = asyncio.create_task(metrics.keep_sampling())
        try:
            await self.serve([self._listening])
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
            metrics.sample_now()


def main(arguments: list[str] | None = None) -> None:
    """Run one web process until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m config.serve", description=__doc__.partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--fd", type=int, help="an open listening socket, shared with other web processes")
    parser.add_argument("--board", type=Path, help="how many connections those other processes have")
    parser.add_argument("--index", type=int, default=0, help="this process's place there")
    parser.add_argument("--ops-fd", type=int, help="an open one for operators; else see PARLEY_OPS_PORT")
    parser.add_argument("--drain-timeout", type=float, default=DRAIN_TIMEOUT_S, metavar="SECONDS")
    options = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    # Until all is loaded there is nothing to collect, and looking takes a fifth of the time that loading does.
    gc.disable()
    allow_open_files()
    config = uvicorn.Config(
        APPLICATION,
        host=options.host,
        port=options.port,
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
        ws_max_size=WEBSOCKET_FRAME_MAX_BYTES,
    )
    listening = None if options.fd is None else [socket.socket(fileno=options.fd)]
    server = DrainingServer(
        config,
        drain_timeout_s=options.drain_timeout,
        shares_socket=listening is not None,
        board=None if options.board is None else Board(options.board, options.index),
        beside=_operators_server(options),
    )
    server.run(sockets=listening)
    if not server.started:
        sys.exit(3)


def allow_open_files() -> int:
    """Raise the soft limit of open files, which is 1,024 on many systems, as far as the hard one and `OPEN_FILES` allow; the
    limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def _operators_server(options: argparse.Namespace) -> OperatorsServer | None:
    if options.ops_fd is not None:
        return OperatorsServer(socket.socket(fileno=options.ops_fd))
    env = read_env()
    if env.parley_ops_port is None:
        return None
    return OperatorsServer(socket.create_server((env.parley_ops_host, env.parley_ops_port)))


if __name__ == "__main__":
    main()
