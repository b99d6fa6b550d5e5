"""Whether a server can do its work yet. Each probe answers within `PROBE_TIMEOUT_S` and never raises."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

PROBE_TIMEOUT_S = 2.0


def valkey_answers(socket: Path) -> Callable[[], Awaitable[bool]]:
    """Valkey at `socket` answers PING; while it loads its data it doesn't say PONG."""

    async def probe() -> bool:
        return await _exchange(asyncio.open_unix_connection(str(socket)), b"PING\r\n", b"+PONG")

    return probe


def http_answers(host: str, port: int, path: str) -> Callable[[], Awaitable[bool]]:
    """The HTTP server answers `GET path` with status 200."""

    async def probe() -> bool:
        name = f"[{host}]" if ":" in host else host
        request = f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode("ascii")
        return await _exchange(asyncio.open_connection(host, port), request, b"HTTP/1.1 200 ")

    return probe


async def _exchange(
    opening: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]], request: bytes, wanted: bytes
) -> bool:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await opening
            try:
                writer.write(request)
                return await reader.readexactly(len(wanted)) == wanted
            finally:
                writer.close()
    return False
