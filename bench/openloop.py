"""An open-loop client: requests start when they are due, whatever became of those before, and their times count from then.

A closed loop waits for an answer before it asks again, so a server that stalls is asked less while it does and looks better than
it is (Gil Tene's "coordinated omission"). Here a request that had to wait for its own start is late by that much too.

HTTP/1.1 on plain sockets, connections kept alive: 100 µs of CPU a request, so that the client isn't what is measured."""

import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 120.0
MAX_CONNECTIONS = 4_000


@dataclass(frozen=True, slots=True)
class Shot:
    """One request. `status` 0 means that no answer came: `error` says why. Times are in seconds since it was due."""

    status: int
    first_s: float
    whole_s: float
    retry_after: str | None = None
    error: str = ""


def chat_request(
    url: str, credential: str, *, model: str, text: str = "Hello", stream: bool = False, headers: Sequence[str] = ()
) -> bytes:
    """A whole chat completion request, ready to be sent."""
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}
    content = json.dumps(body).encode()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        f"host: {urlsplit(url).netloc}",
        f"authorization: Bearer {credential}",
        "content-type: application/json",
        f"content-length: {len(content)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


class Client:
    """Connections to one server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._room = asyncio.Semaphore(MAX_CONNECTIONS)
        self._now = asyncio.get_running_loop().time

    async def send(self, request: bytes, *, due_s: float) -> Shot:
        """Send a request that was due at `due_s` (of the loop's clock), and read its answer to the end."""
        first_s = 0.0
        try:
            async with asyncio.timeout(TIMEOUT_S), self._room:
                reader, writer = await self._connection()
                try:
                    writer.write(request)
                    head = await reader.readuntil(b"\r\n\r\n")
                    status, headers = _head(head)
                    first_s = await self._body(reader, headers) - due_s
                except BaseException:
                    writer.close()
                    raise
                self._idle.append((reader, writer))
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            return Shot(0, first_s, self._now() - due_s, error=type(error).__name__)
        return Shot(status, first_s, self._now() - due_s, headers.get("retry-after"))

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not (reader.at_eof() or writer.is_closing()):
                return reader, writer
        return await asyncio.open_connection(self._host, self._port)

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> float:
        """Read to the end; when the first of it came."""
        if "content-length" in headers:
            await reader.readexactly(int(headers["content-length"]))
            return self._now()
        first_s = 0.0
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
            first_s = first_s or self._now()
        await reader.readline()
        return first_s

    async def close(self) -> None:
        """Close every idle connection."""
        while self._idle:
            self._idle.pop()[1].close()


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(first.split(" ", 2)[1]), headers


async def open_loop(client: Client, request: bytes, *, per_s: float, count: int, seed: int = 1) -> list[Shot]:
    """Send `count` requests at random times, `per_s` on average; all of their answers."""
    loop = asyncio.get_running_loop()
    chance = random.Random(seed)
    due_s = loop.time()
    tasks = []
    for _ in range(count):
        due_s += chance.expovariate(per_s)
        if (wait_s := due_s - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        tasks.append(asyncio.create_task(client.send(request, due_s=due_s)))
    return list(await asyncio.gather(*tasks))


async def at_once(client: Client, request: bytes, *, count: int) -> list[Shot]:
    """Send `count` requests at the same time."""
    due_s = asyncio.get_running_loop().time()
    return list(await asyncio.gather(*(client.send(request, due_s=due_s) for _ in range(count))))


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them doesn't exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def statuses(shots: Sequence[Shot]) -> str:
    """How many of each status, for a table."""
    counted = Counter(str(shot.status) if shot.status else shot.error for shot in shots)
    return " ".join(f"{status}:{number}" for status, number in sorted(counted.items()))
