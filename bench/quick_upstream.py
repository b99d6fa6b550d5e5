"""An OpenAI-compatible upstream that costs next to nothing: it answers at once, or streams 20 pieces with given delays.

    python -m bench.quick_upstream --first-ms 50 --gap-ms 20

Each streamed piece says when it was sent (seconds since 1970). Prints its base URL and serves until its standard input is closed.
Loopback only."""

import argparse
import asyncio
import json
import sys
import time
from typing import cast

import uvloop

PIECES = 20
USAGE = {"prompt_tokens": 9, "completion_tokens": PIECES, "total_tokens": 9 + PIECES}
CHUNK = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "quick"}


def _whole() -> bytes:
    message = {"role": "assistant", "content": " ".join(f"w{i}" for i in range(PIECES))}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {
        "id": "a",
        "object": "chat.completion",
        "created": 1,
        "model": "quick",
        "choices": [choice],
        "usage": USAGE,
    }
    body = json.dumps(answer).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


WHOLE = _whole()


def _frame(choice: dict[str, object], **more: object) -> bytes:
    frame = json.dumps(CHUNK | {"choices": [{"index": 0, **choice}]} | more, separators=(",", ":"))
    data = b"data: " + frame.encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def _word() -> bytes:
    """The frame of a word, which is the time in as many digits."""
    said = b"1000000000.000000"
    return _frame({"delta": {"content": f"{said.decode()} "}, "finish_reason": None}).replace(said, b"%.6f")


WORD = _word()
LAST = _frame({"delta": {}, "finish_reason": "stop"}, usage=USAGE)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Quick(asyncio.Protocol):
    """One connection."""

    first_s = 0.0
    gap_s = 0.0

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        assert self._transport is not None
        if b'"stream":true' not in body.replace(b" ", b""):
            self._transport.write(WHOLE)
            return
        task = asyncio.create_task(self._stream(self._transport))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stream(self, transport: asyncio.Transport) -> None:
        await asyncio.sleep(self.first_s)
        if transport.is_closing():
            return
        transport.write(STREAM_HEAD)
        for number in range(PIECES):
            if number and self.gap_s:
                await asyncio.sleep(self.gap_s)
            if transport.is_closing():
                return
            transport.write(WORD % time.time())
        transport.write(LAST)
        transport.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(Quick, "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first-ms", type=float, default=0)
    parser.add_argument("--gap-ms", type=float, default=0)
    options = parser.parse_args()
    Quick.first_s, Quick.gap_s = options.first_ms / 1000, options.gap_ms / 1000
    uvloop.run(_serve())


if __name__ == "__main__":
    main()
