"""An OpenAI-compatible upstream that takes its time and works on so many requests at once; the others wait.

    python -m bench.slow_upstream --work-s 0.2 --at-once 40

Prints its base URL and serves until its standard input is closed. Loopback only."""

import argparse
import asyncio
import contextlib
import json
import sys

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
PIECES = ("One", " two", " three", " four.")


class Slow:
    """Answers chat completions, plain and streamed."""

    def __init__(self, *, work_s: float, at_once: int) -> None:
        self._work_s = work_s
        self._places = asyncio.Semaphore(at_once)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
                )
                body = json.loads(await reader.readexactly(length)) if length else {}
                async with self._places:
                    await (self._stream(writer) if body.get("stream") else self._whole(writer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _whole(self, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self._work_s)
        message = {"role": "assistant", "content": "".join(PIECES)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "a", "object": "chat.completion", "created": 1, "model": "slow", "choices": [choice]}
        body = json.dumps(answer | {"usage": USAGE}).encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in PIECES:
            self._frame(writer, {"delta": {"content": piece}, "index": 0, "finish_reason": None})
            await asyncio.sleep(self._work_s / len(PIECES))
        self._frame(writer, {"delta": {}, "index": 0, "finish_reason": "stop"})
        self._chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")

    def _frame(self, writer: asyncio.StreamWriter, choice: dict[str, object]) -> None:
        frame = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "slow", "choices": [choice]}
        if choice["finish_reason"]:
            frame["usage"] = USAGE
        self._chunk(writer, b"data: " + json.dumps(frame).encode() + b"\n\n")

    def _chunk(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))


async def _serve(work_s: float, at_once: int) -> None:
    slow = Slow(work_s=work_s, at_once=at_once)
    server = await asyncio.start_server(slow.serve, "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work-s", type=float, default=0.2)
    parser.add_argument("--at-once", type=int, default=40)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(options.work_s, options.at_once))


if __name__ == "__main__":
    main()
