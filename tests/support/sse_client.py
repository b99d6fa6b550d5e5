"""A reader of server-sent events, as strict as a browser's."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

WAIT_S = 30.0


@dataclass
class Events:
    """What came on one stream. `last_id` is what a browser would name when it comes back."""

    status: int
    headers: dict[str, str]
    frames: list[dict[str, Any]] = field(default_factory=list)
    last_id: str = ""
    body: Any = None
    ended: bool = False
    pings: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                assert not self.ended, (self.status, self.body, self.frames)
                self.changed.clear()
                await self.changed.wait()

    async def over(self) -> None:
        """Wait for its end."""
        async with asyncio.timeout(WAIT_S):
            while not self.ended:
                self.changed.clear()
                await self.changed.wait()

    def texts(self, gid: str) -> dict[int, str]:
        """The parts of an answer, as the deltas that came make them."""
        parts: dict[int, str] = {}
        for frame in self.frames:
            if frame["op"] == "delta" and frame["gid"] == gid:
                held = parts.get(frame["part"], "")
                assert frame["off"] <= len(held), "a hole"
                parts[frame["part"]] = held + frame["text"][len(held) - frame["off"] :]
        return parts

    def take(self, lines: list[str]) -> None:
        """One event."""
        fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
        self.pings += any(line.startswith(":") for line in lines)
        if "data" in fields:
            frame = json.loads(fields["data"])
            assert fields["event"] == frame["op"]
            self.frames.append(frame)
        self.last_id = fields.get("id", self.last_id)


@asynccontextmanager
async def listening(url: str, token: str | None, *, last_id: str | None = None) -> AsyncIterator[Events]:
    """Open a stream; its events, as they come."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if last_id is not None:
        headers["Last-Event-ID"] = last_id
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        events = Events(
            status=response.status, headers={name.lower(): value for name, value in response.headers.items()}
        )
        if response.status != 200:
            events.body = await response.json()
            yield events
            return
        reader = asyncio.create_task(_read(response, events))
        try:
            yield events
        finally:
            reader.cancel()
            await asyncio.wait([reader])


async def _read(response: aiohttp.ClientResponse, events: Events) -> None:
    lines: list[str] = []
    try:
        async for raw in response.content:
            line = raw.decode().removesuffix("\n")
            if line:
                lines.append(line)
                continue
            events.take(lines)
            lines = []
            events.changed.set()
    except aiohttp.ClientError:
        pass
    finally:
        events.ended = True
        events.changed.set()
