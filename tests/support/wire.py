"""A wire between a client and a server that a test can cut."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress


class Wire:
    """Passes TCP on from a port of its own. While it is cut, it ends what is open and refuses what is new."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._is_cut = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self.url = ""

    def run(self, ready: threading.Event) -> None:
        """Pass on until it is ended; in a thread of its own."""
        with closing(self._loop):
            self._loop.run_until_complete(self._run(ready))

    def end(self) -> None:
        """Close everything."""
        self._loop.call_soon_threadsafe(self._ended.set)

    def cut(self) -> None:
        """Cut it: every connection is reset."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(5)

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False

    async def _run(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._ended.wait()
        server.close()
        await self._cut()
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        if pending:
            await asyncio.wait(pending, timeout=2)

    async def _cut(self) -> None:
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self._is_cut:
            to_client.transport.abort()
            return
        server, to_server = await asyncio.open_connection("127.0.0.1", self._to)
        ends = {to_client, to_server}
        self._writers |= ends
        with suppress(OSError):
            await asyncio.gather(_pass(client, to_server), _pass(server, to_client))
        self._writers -= ends
        for end in ends:
            end.transport.abort()


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()


@contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    """A wire to a port on loopback."""
    wire = Wire(port)
    ready = threading.Event()
    thread = threading.Thread(target=wire.run, args=(ready,), name="wire", daemon=True)
    thread.start()
    if not ready.wait(5):
        raise RuntimeError("the wire did not open")
    try:
        yield wire
    finally:
        wire.end()
        thread.join(5)
