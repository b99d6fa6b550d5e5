"""Which web process serves a connection, and what connections a process has."""

import asyncio
import socket
from urllib.parse import urlsplit

import psutil

from tests.support.stack import Stack, eventually
from tests.support.ws_client import Client

_AT_ONCE = 8
_ROUNDS = 20


def web_processes(stack: Stack) -> dict[str, int]:
    """The web processes of a platform, by name."""
    return {name: pid for name, pid in stack.children().items() if name.startswith("web")}


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
    """A client whose socket this web process serves: connect until it is, several at once, since an idle process may take
    every connection that comes alone.
    """
    for _ in range(_ROUNDS):
        clients = await asyncio.gather(*(Client(stack.socket_url, token).hello() for _ in range(_AT_ONCE)))
        reached = [client for client in clients if serving_socket(stack, client) == pid]
        for client in clients:
            if client not in reached[:1]:
                await client.close()
        if reached:
            return reached[0]
    raise AssertionError(f"never reached {pid}")


def raw_connection(stack: Stack, *, pid: int) -> socket.socket:
    """A TCP connection that this web process serves."""
    for _ in range(_ROUNDS):
        opened = [socket.create_connection(("127.0.0.1", stack.port), timeout=30) for _ in range(_AT_ONCE)]
        for one in opened:
            _ask(one)
        reached = [one for one in opened if serving(stack, one.getsockname()[1]) == pid]
        for one in opened:
            if one not in reached[:1]:
                one.close()
        if reached:
            return reached[0]
    raise AssertionError(f"never reached {pid}")


def _ask(opened: socket.socket) -> None:
    """One whole exchange: from then on some process serves the connection."""
    opened.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    answer = b""
    while not answer.endswith(b'"alive"}'):
        piece = opened.recv(65_536)
        assert piece, "the connection was closed"
        answer += piece
