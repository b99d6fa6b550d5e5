"""Which web process serves a connection, and what connections a process has."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil

from config.supervisor.child import DEATHS_MAX, DEATHS_WINDOW_S
from tests.support.stack import Stack, eventually
from tests.support.ws_client import Client

_HELD_MAX_S = 1.0
"""For how long the other web processes stand still at once: an answer's lease lasts six times as long."""
_CONNECTED_S = 30.0
"""A process that was only just started takes connections after some seconds."""


def web_processes(stack: Stack) -> dict[str, int]:
    """The web processes of a platform, by name."""
    return {name: pid for name, pid in stack.children().items() if name.startswith("web")}


_ended: dict[tuple[str, str], list[float]] = {}
"""When which web process of which platform was ended by a test."""


def may_die(stack: Stack) -> None:
    """Wait until all web processes are there, and each may die once more: a supervisor gives up when one dies too often, and
    the platform is gone for all tests that come after."""

    def at_ease() -> bool:
        recent = time.monotonic() - DEATHS_WINDOW_S
        deaths = [sum(at > recent for at in _ended.get((stack.url, name), ())) for name in ("web.0", "web.1")]
        return max(deaths) < DEATHS_MAX - 1 and len(web_processes(stack)) == 2

    eventually(at_ease, within_s=DEATHS_WINDOW_S + _CONNECTED_S)


def end_process(stack: Stack, pid: int, how: signal.Signals) -> None:
    """End a web process, for the supervisor to start another in its place. `may_die` comes before."""
    (name,) = (name for name, running in web_processes(stack).items() if running == pid)
    _ended.setdefault((stack.url, name), []).append(time.monotonic())
    os.kill(pid, how)


def serving(stack: Stack, local_port: int) -> int:
    """The web process that serves the connection which the test holds at this port."""

    def find() -> int | None:
        for pid in web_processes(stack).values():
            try:
                connections = psutil.Process(pid).net_connections("tcp")
            except psutil.NoSuchProcess:
                continue
            if any(one.raddr and one.raddr.port == local_port for one in connections):
                return pid
        return None

    found: int = eventually(find, failing=lambda: f"nobody serves {local_port}")
    return found


def serving_socket(stack: Stack, client: Client) -> int:
    """The web process that serves a client's socket."""
    assert client._socket is not None
    return serving(stack, client._socket.local_address[1])


def talks_to(pid: int, url: str) -> bool:
    """Whether a process has a connection to the server at this address open."""
    port = urlsplit(url).port
    return any(
        one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED
        for one in psutil.Process(pid).net_connections("tcp")
    )


async def connect_to(stack: Stack, token: str, *, pid: int) -> Client:
    """A client whose socket this web process serves."""
    return await Client(stack.socket_url, token).hello(over=_connect(stack, pid=pid))


@contextmanager
def raw_connection(stack: Stack, *, pid: int) -> Iterator[socket.socket]:
    """A TCP connection that this web process serves, after one whole exchange."""
    with _connect(stack, pid=pid) as opened:
        opened.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        answer = b""
        while not answer.endswith(b'"alive"}'):
            piece = opened.recv(65_536)
            assert piece, "the connection was closed"
            answer += piece
        yield opened


def _connect(stack: Stack, *, pid: int) -> socket.socket:
    """A new connection that this web process has taken.

    All web processes of a platform share one listening socket, and an idle one takes whatever comes. So the others are held
    while the connection is made: not for long, since a process that stands still loses its leases.
    """

    def connect() -> socket.socket | None:
        opened = socket.create_connection(("127.0.0.1", stack.port), timeout=30)
        try:
            eventually(lambda: _serves(pid, opened), within_s=_HELD_MAX_S)
        except AssertionError:
            opened.close()
            return None
        except BaseException:
            opened.close()
            raise
        return opened

    def connect_while_others_stand() -> socket.socket | None:
        with _standing_still(other for other in web_processes(stack).values() if other != pid):
            return connect()

    made: socket.socket = eventually(
        connect_while_others_stand, within_s=_CONNECTED_S, failing=lambda: f"{pid} takes no connection"
    )
    return made


def _serves(pid: int, opened: socket.socket) -> bool:
    port, listening = opened.getsockname()[1], opened.getpeername()[1]
    return any(
        one.raddr and (one.raddr.port, one.laddr.port) == (port, listening)
        for one in psutil.Process(pid).net_connections("tcp")
    )


@contextmanager
def _standing_still(pids: Iterable[int]) -> Iterator[None]:
    """Have these processes do nothing meanwhile. One that has died by itself is no matter."""
    held = list(pids)
    try:
        for pid in held:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in held:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
