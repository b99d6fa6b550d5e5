"""Where connections come from: names to addresses, addresses to sockets, sockets to TLS."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol, TypeVar

import aiohappyeyeballs

from providers.http1.connection import Connection

NEXT_ADDRESS_AFTER_S = 0.25
"""How long one address is waited for before the next is tried as well (RFC 8305)."""

AddrInfo = tuple[Any, Any, int, str, tuple[Any, ...]]
Key = TypeVar("Key")


class ConnectFailed(ConnectionError):
    """No connection could be made."""


class CertificateRefused(ConnectionError):
    """The server's certificate is not one for its name."""


class Dialler(Protocol):
    """Who says which addresses a host has, and makes sockets for them. Both raise OSError for what may not be called."""

    async def addresses(self, host: str, port: int) -> Sequence[AddrInfo]:
        """The host's addresses."""

    def socket(self, info: AddrInfo) -> socket.socket:
        """A socket to be connected to one of them."""


class Plain:
    """The machine's own: whatever it knows may be called."""

    async def addresses(self, host: str, port: int) -> Sequence[AddrInfo]:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)

    def socket(self, info: AddrInfo) -> socket.socket:
        return socket.socket(info[0], info[1], info[2])


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def connect(dialler: Dialler, infos: Sequence[AddrInfo], *, host: str, tls: bool, timeout_s: float) -> Connection:
    """A connection to one of a host's addresses, within `timeout_s`. Raises ConnectFailed and CertificateRefused."""
    loop = asyncio.get_running_loop()
    opened: socket.socket | None = None
    try:
        async with asyncio.timeout(timeout_s):
            opened = await aiohappyeyeballs.start_connection(
                list(infos),
                happy_eyeballs_delay=NEXT_ADDRESS_AFTER_S,
                interleave=1,
                loop=loop,
                socket_factory=dialler.socket,
            )
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            _, connection = await loop.create_connection(
                Connection, sock=opened, ssl=_tls() if tls else None, server_hostname=host if tls else None
            )
    except BaseException as error:
        if opened is not None:
            opened.close()
        if isinstance(error, ssl.SSLCertVerificationError | ssl.CertificateError):
            raise CertificateRefused from error
        if isinstance(error, OSError | TimeoutError):
            raise ConnectFailed from error
        raise
    return connection
