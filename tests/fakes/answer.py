"""One answer of a fake upstream, plain or streamed, as its script says: what is the same in every format."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from aiohttp import web

from tests.fakes.script import Record, Script


class Cut(Exception):
    """The connection is to be closed here."""


class Answer(ABC):
    """One answer. A format says how its frames look."""

    stream_type: ClassVar[str] = "text/event-stream"
    half_frame: ClassVar[bytes] = b'data: {"id":"x","choi'
    garbage_frame: ClassVar[bytes] = b"data: {this is not json}\n\n"
    comment: ClassVar[bytes] = b": PROCESSING\n\n"
    crlf: ClassVar[bool] = False
    """Whether lines always end with CRLF, and not only when a script says so."""

    def __init__(self, request: web.Request, script: Script, record: Record) -> None:
        self._request = request
        self._script = script
        self._record = record
        text = script.text if script.text is not None else f"You said: {record.prompt}"
        self._pieces = [text[i : i + script.chunk] for i in range(0, len(text), script.chunk)]

    # --- what a format says

    @classmethod
    @abstractmethod
    def refusal(cls, fault: str, headers: Mapping[str, str]) -> web.Response | None:
        """The answer of a fault that is an error in this format's words."""

    @abstractmethod
    def body(self) -> dict[str, Any]:
        """The whole answer. `self._record.text` holds its text."""

    @abstractmethod
    def opening(self) -> Iterator[bytes]:
        """The frames before the text."""

    @abstractmethod
    def piece(self, text: str) -> bytes:
        """The frame of a piece of text."""

    @abstractmethod
    def ending(self) -> Iterator[bytes]:
        """The frames after the text: calls, usage, the end."""

    @abstractmethod
    def error_frame(self) -> bytes:
        """An error in mid-stream."""

    # --- what all formats do

    async def send(self) -> web.StreamResponse:
        fault = self._script.fault
        if fault is not None and (refused := await self._instead(fault)) is not None:
            self._record.outcome = "fault"
            return refused
        return await (self._stream() if self._record.stream else self._plain())

    async def _instead(self, fault: str) -> web.StreamResponse | None:
        """The answer of a fault that lets no real one begin."""
        wait_s = self._script.retry_after
        refused = self.refusal(fault, {} if wait_s is None else {"Retry-After": f"{wait_s:g}"})
        if refused is not None:
            return refused
        match fault:
            case "500_text":
                return web.Response(status=500, text="<h1>Oops</h1>", content_type="text/html")
            case "redirect":
                return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/elsewhere"})
            case "status":
                return web.Response(status=self._script.status, body=self._script.body.encode())
            case "garbage_body":
                return web.Response(body=b"{not json", content_type="application/json")
            case "hang_before_headers":
                await asyncio.get_running_loop().create_future()
            case "cut_before_headers":
                raise Cut
        return None

    async def _plain(self) -> web.Response:
        script = self._script
        await asyncio.sleep(((script.first_delay_ms or 0) + script.delay_ms * len(self._pieces)) / 1000)
        if script.fault in ("hang", "hang_before_first_token"):
            await asyncio.get_running_loop().create_future()
        if script.fault == "cut":
            raise Cut
        for piece in self._pieces:
            self._sent(piece)
        return web.json_response(self.body())

    async def _stream(self) -> web.StreamResponse:
        script = self._script
        response = web.StreamResponse(headers={"Content-Type": self.stream_type})
        await response.prepare(self._request)
        if script.fault == "hang_before_first_token":
            await asyncio.get_running_loop().create_future()
        for frame in self.opening():
            await self._raw(response, frame)
        for number, piece in enumerate(self._pieces):
            if await self._ended_here(response, number):
                return response
            first = number == 0 and script.first_delay_ms is not None
            await asyncio.sleep((script.first_delay_ms or 0 if first else script.delay_ms) / 1000)
            if script.comments:
                await self._raw(response, self.comment)
            await self._raw(response, self.piece(piece))
            self._sent(piece)
        if await self._ended_here(response, len(self._pieces)):
            return response
        for frame in self.ending():
            await self._raw(response, frame)
        if script.hang_at_end:
            await asyncio.get_running_loop().create_future()
        await response.write_eof()
        return response

    def _sent(self, piece: str) -> None:
        self._record.text += piece
        self._record.chunks += 1
        if self._script.completion_tokens is None:
            self._record.completion_tokens += 1
        else:
            self._record.completion_tokens = self._script.completion_tokens

    async def _ended_here(self, response: web.StreamResponse, sent: int) -> bool:
        """Do what the script's fault does after so many chunks; whether the stream ended properly by it."""
        script = self._script
        if script.fault is None or sent != min(script.fault_after, len(self._pieces)):
            return False
        self._record.outcome = "fault"
        match script.fault:
            case "end":
                await response.write_eof()
                return True
            case "hang":
                self._record.outcome = "open"
                await asyncio.get_running_loop().create_future()
            case "cut":
                await response.write(self.half_frame)
                raise Cut
            case "garbage":
                await self._raw(response, self.garbage_frame)
            case "error_frame":
                await self._raw(response, self.error_frame())
            case "huge_frame":
                while True:
                    await response.write(b"data: " + b"x" * 65_536)
        raise Cut

    async def _raw(self, response: web.StreamResponse, data: bytes) -> None:
        if self._script.crlf or self.crlf:
            data = data.replace(b"\n", b"\r\n")
        step = self._script.split or len(data)
        for i in range(0, len(data), step):
            await response.write(data[i : i + step])
            if self._script.split:
                await asyncio.sleep(0)


def frame(data: object, *, event: str | None = None) -> bytes:
    """A server-sent event."""
    named = b"" if event is None else b"event: " + event.encode() + b"\n"
    return named + b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"
