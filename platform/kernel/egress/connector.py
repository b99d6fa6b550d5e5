"""The connector: names are resolved once and judged, and each socket is judged again by the address it is for."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from kernel.egress.addresses import Policy

MAX_CONNECTIONS = 1_024
IDLE_S = 4.0
DNS_TTL_S = 30
RESOLVE_TIMEOUT_S = 5.0
_RESOLVING_THREADS = 8

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, for a port. Raises OSError if it has none."""

AddrInfo = tuple[Any, Any, int, str, tuple[Any, ...]]
MakeSocket = Callable[[AddrInfo], socket.socket]


@cache
def _threads() -> ThreadPoolExecutor:
    """Threads of their own: names that tenants chose to be slow keep nobody else waiting."""
    return ThreadPoolExecutor(_RESOLVING_THREADS, thread_name_prefix="egress-dns")


async def system_lookup(host: str, port: int) -> Sequence[str]:
    """What the machine's resolver says."""
    ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    found = await asyncio.get_running_loop().run_in_executor(_threads(), ask)
    return [str(info[4][0]) for info in found]


def plain_socket(info: AddrInfo) -> socket.socket:
    """A TCP socket of the address's family."""
    return socket.socket(info[0], info[1], info[2])


def guarded_connector(
    policy: Policy, *, inside: bool, lookup: Lookup = system_lookup, make_socket: MakeSocket = plain_socket
) -> TCPConnector:
    """A connector that reaches only what `policy` admits. Bind it to one event loop, and close it there."""
    return TCPConnector(
        limit=MAX_CONNECTIONS,
        keepalive_timeout=IDLE_S,
        ttl_dns_cache=DNS_TTL_S,
        resolver=_Resolver(policy, lookup, inside=inside),
        socket_factory=partial(_guarded_socket, policy, inside, make_socket),
    )


class Guard:
    """For clients that open sockets of their own: only to addresses that `policy` admits."""

    def __init__(
        self, policy: Policy, *, inside: bool, lookup: Lookup = system_lookup, make_socket: MakeSocket = plain_socket
    ) -> None:
        self._resolver = _Resolver(policy, lookup, inside=inside)
        self._make = partial(_guarded_socket, policy, inside, make_socket)

    async def addresses(self, host: str, port: int) -> Sequence[AddrInfo]:
        """The host's addresses. Raises OSError if it has none, or one that isn't admitted."""
        return [
            (found["family"], socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (found["host"], port))
            for found in await self._resolver.resolve(host, port)
        ]

    def socket(self, info: AddrInfo) -> socket.socket:
        """A socket to be connected to this address. Raises PermissionError for one that isn't admitted."""
        return self._make(info)


class _Resolver(AbstractResolver):
    def __init__(self, policy: Policy, lookup: Lookup, *, inside: bool) -> None:
        self._policy = policy
        self._lookup = lookup
        self._inside = inside

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The host's addresses. One that isn't admitted spoils them all: whoever mixes them is up to something."""
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                found = await self._lookup(host, port)
        except (OSError, TimeoutError, UnicodeError) as error:
            raise _no_address() from error
        if not found or not all(self._policy.admits(address, inside=self._inside) for address in found):
            raise _no_address()
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in dict.fromkeys(found)
        ]

    async def close(self) -> None:
        """Nothing is kept."""


def _no_address() -> OSError:
    return OSError(errno.EHOSTUNREACH, "the host has no public address")


def _guarded_socket(policy: Policy, inside: bool, make_socket: MakeSocket, info: AddrInfo) -> socket.socket:
    if not policy.admits(str(info[4][0]), inside=inside):
        raise PermissionError(errno.EACCES, "the address is not a public one")
    return make_socket(info)
