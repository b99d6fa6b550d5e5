"""Sockets of the rooms' protocol that cost a client next to nothing, so that the server is what is measured.

An ear says hello and listens: it counts frames that hold a mark, and notes when each came. Frames of a server aren't masked, so a
mark is found in the bytes as they come. Each ear may come from an address of its own on loopback, as people do.
"""

import asyncio
import base64
import json
import os
import struct
import time
from typing import Any, cast

MARK = b"mark-"
HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: parley.v1\r\n\r\n"
)


class Ear(asyncio.Protocol):
    """One socket. `heard` are the marks, with the time each came; `ready` when the answer to a ping after hello has."""

    def __init__(self, hello: dict[str, Any], host: str, port: int) -> None:
        self.heard: dict[bytes, float] = {}
        self.repeated = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lost = asyncio.Event()
        self._hello, self._host, self._port = hello, host, port
        self._buffer = b""
        self._open = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(HANDSHAKE.format(host=self._host, port=self._port, key=key).encode())

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._buffer += data
        if not self._open:
            if b"\r\n\r\n" not in self._buffer:
                return
            self._open = True
            self._buffer = self._buffer.split(b"\r\n\r\n", 1)[1]
            self.say(self._hello)
            self.say({"op": "ping", "t": "ready"})
        self._look(now)

    def _look(self, now: float) -> None:
        if not self.ready.done() and b'"pong"' in self._buffer:
            self.ready.set_result(None)
        at = self._buffer.find(MARK)
        while at >= 0:
            end = self._buffer.find(b" ", at)
            if end < 0:
                break
            mark = self._buffer[at:end]
            self.repeated += mark in self.heard
            self.heard.setdefault(mark, now)
            # A message says its text twice, as a part too: what is left of the frame holds the mark again.
            self._buffer = self._buffer[end:].replace(mark + b" ", b"", 1)
            at = self._buffer.find(MARK)
        self._buffer = self._buffer[-64_000:] if at >= 0 else self._buffer[-64:]

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("closed before it was ready"))

    def say(self, frame: dict[str, Any]) -> None:
        """Send a frame, masked with zeros."""
        body = json.dumps(frame).encode()
        size = len(body)
        length = struct.pack("!B", 0x80 | size) if size < 126 else struct.pack("!BH", 0x80 | 126, size)
        assert self._transport is not None
        self._transport.write(b"\x81" + length + b"\0\0\0\0" + body)

    async def cut(self) -> None:
        """Lose the connection."""
        if self._transport is not None:
            self._transport.abort()
            await self.lost.wait()


def address(number: int) -> str:
    """An address on loopback for the person of this number."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


async def listen(host: str, port: int, hello: dict[str, Any], *, number: int, tries: int = 30) -> Ear:
    """An ear that is ready; refused ones come back, as clients do."""
    loop = asyncio.get_running_loop()
    for attempt in range(tries):
        try:
            _, ear = await loop.create_connection(
                lambda: Ear(hello, host, port), host, port, local_addr=(address(number), 0)
            )
            await asyncio.wait_for(ear.ready, 20)
        except (OSError, TimeoutError):
            await asyncio.sleep(min(2.0, 0.1 * 2**attempt))
            continue
        return ear
    raise ConnectionError(f"no place for number {number}")
