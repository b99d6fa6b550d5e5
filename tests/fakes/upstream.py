"""A fake upstream over real HTTP, in whatever format: it runs, is told what to do, and keeps its own account.

Run one in a thread (`with OpenAIUpstream() as upstream: upstream.base_url`) or as a program (`python -m
tests.fakes.openai_upstream [--host H] [--port P] [--api-key K]`, which prints its base URL as one line).

    PUT  /_script                   {"model": M, "script": S, "times": N}: answer the model M ("*": any) by S,
                                    the next N times (null: from now on); the latest that fits wins
    DELETE /_script                 forget all of them
    GET  /_record[?id=I]            {"requests": [Record], "open_connections": n, "in_flight": n, "opened": n}
    DELETE /_record                 forget the requests

A request is answered by the first there is of: a script in the last user message, when that is `!script
{JSON}` (so that a test can script an upstream it can only reach through the product); what `chooser` says; a PUT
script; the default one. Scripts and records are described in `script`.
"""

import argparse
import asyncio
import json
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, ClassVar, Self

from aiohttp import web

from tests.fakes.answer import Answer, Cut
from tests.fakes.script import Record, Script


class Upstream(ABC):
    """The server and its account. `records` and `script` may be used from the thread that started it."""

    root: ClassVar[str] = ""
    """What the base URL has after the host."""

    def __init__(
        self,
        *,
        models: tuple[str, ...] = ("fake-model",),
        api_key: str | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.models = models
        self.api_key = api_key
        self.records: list[Record] = []
        self.chooser: Callable[[str, str], Script | None] | None = None
        """The script for a model and a prompt, if it has one; asked in the server's thread."""
        self.in_flight = 0
        self.opened = 0
        self.base_url = ""
        self._host = host
        self._scripts: list[tuple[str, Script, list[int | None]]] = []
        self._connections: dict[asyncio.BaseTransport, float] = {}
        self._others: frozenset[asyncio.BaseTransport] = frozenset()
        self._runner: web.AppRunner | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    # --- what a format says

    @abstractmethod
    def add_routes(self, router: web.UrlDispatcher) -> None:
        """The paths of the API."""

    @abstractmethod
    def signed(self, request: web.Request) -> bool:
        """Whether the request carries `api_key`."""

    # --- running

    async def start(self, port: int = 0) -> None:
        """Listen, on this event loop."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        self.add_routes(app.router)
        app.router.add_put("/_script", self._put_script)
        app.router.add_delete("/_script", self._delete_scripts)
        app.router.add_get("/_record", self._get_record)
        app.router.add_delete("/_record", self._delete_record)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, port)
        await site.start()
        address = self._runner.addresses[0]
        self.base_url = f"http://{self._host}:{address[1]}{self.root}"

    async def close(self) -> None:
        """Stop listening and close every connection."""
        if self._runner is not None:
            await self._runner.cleanup()

    def __enter__(self) -> Self:
        started = threading.Event()

        def run() -> None:
            self._loop = asyncio.new_event_loop()
            self._loop.run_until_complete(self.start())
            started.set()
            self._loop.run_forever()
            self._loop.run_until_complete(self.close())
            self._loop.close()

        self._thread = threading.Thread(target=run, name=type(self).__name__, daemon=True)
        self._thread.start()
        if not started.wait(10):
            raise RuntimeError("the upstream did not start")
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    # --- control

    def script(
        self, script: Script | None = None, *, model: str = "*", times: int | None = None, **fields: Any
    ) -> None:
        """Answer `model` by this script (or one of these fields), the next `times` times."""
        self._scripts.insert(0, (model, script or Script(**fields), [times]))

    def forget_scripts(self) -> None:
        """Answer as without any script."""
        self._scripts.clear()

    def reset(self) -> None:
        """Forget scripts and records, and leave connections that are open out of the count: they are others'."""
        self.forget_scripts()
        self.records.clear()
        self._others = frozenset(self._connections)

    @property
    def open_connections(self) -> int:
        """Connections that are open now, of those that were opened since the last reset."""
        return sum(
            not transport.is_closing() and transport not in self._others for transport in list(self._connections)
        )

    @property
    def unused_s(self) -> float:
        """For how long the connection has been unused that is open and has been so for longest; 0 where none is."""
        unused = [used_s for transport, used_s in list(self._connections.items()) if not transport.is_closing()]
        return max(0.0, time.monotonic() - min(unused, default=math.inf))

    async def _put_script(self, request: web.Request) -> web.Response:
        asked = await request.json()
        try:
            self.script(Script(**asked.get("script", {})), model=asked.get("model", "*"), times=asked.get("times"))
        except (TypeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({})

    async def _delete_scripts(self, _: web.Request) -> web.Response:
        self._scripts.clear()
        return web.json_response({})

    async def _get_record(self, request: web.Request) -> web.Response:
        wanted = request.query.get("id")
        found = [asdict(record) for record in self.records if wanted in (None, record.id)]
        return web.json_response(
            {
                "requests": found,
                "open_connections": self.open_connections,
                "in_flight": self.in_flight,
                "opened": self.opened,
            }
        )

    async def _delete_record(self, _: web.Request) -> web.Response:
        self.records.clear()
        return web.json_response({})

    # --- for the API

    def script_for(self, model: str, prompt: str) -> Script:
        """How to answer this prompt, used up by once."""
        # The last of them: what was asked before, and never answered, stands before it. Who is to sum a conversation up gets
        # the answer as well, and no script.
        author, found, said = prompt.rpartition("!script ")
        if found and (not author or author.endswith((": ", "\n\n"))) and (script := _script(said)) is not None:
            return script
        if self.chooser is not None and (chosen := self.chooser(model, prompt)) is not None:
            return chosen
        for entry in self._scripts:
            name, script, times = entry
            if name not in ("*", model):
                continue
            if times[0] is not None:
                times[0] -= 1
                if times[0] <= 0:
                    self._scripts.remove(entry)
            return script
        return Script()

    @contextmanager
    def counted(self, request: web.Request) -> Iterator[None]:
        """Count the request and its connection."""
        transport = request.transport
        if transport is not None and transport not in self._connections:
            self._connections = {known: at for known, at in self._connections.items() if not known.is_closing()}
            self.opened += 1
        if transport is not None:
            self._connections[transport] = math.inf
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            if transport is not None:
                self._connections[transport] = time.monotonic()

    def unauthorized(self, request: web.Request, answers: type[Answer]) -> web.Response | None:
        """The answer to a request with a wrong key."""
        return None if self.api_key is None or self.signed(request) else answers.refusal("401", {})

    async def answered(self, request: web.Request, answer: Answer, record: Record) -> web.StreamResponse:
        """Record the request, send its answer and say how that went."""
        self.records.append(record)
        try:
            response = await answer.send()
        except Cut:
            record.outcome = "fault"
            if request.transport is not None:
                request.transport.close()
            await asyncio.get_running_loop().create_future()
            raise
        except (asyncio.CancelledError, ConnectionError):
            if record.outcome == "open":
                record.outcome = "disconnected"
            raise
        if record.outcome == "open":
            record.outcome = "complete"
        return response


def _script(said: str) -> Script | None:
    try:
        return Script(**json.loads(said))
    except ValueError:
        return None


def words_in(texts: Iterator[Any]) -> int:
    """How many words there are in texts, and in the JSON of what is none."""
    return sum(len((text if isinstance(text, str) else json.dumps(text)).split()) for text in texts)


def vector_of(text: str, dimensions: int) -> list[float]:
    """A vector that tells texts apart, of numbers that a float32 holds exactly."""
    seed = sum((place + 1) * byte for place, byte in enumerate(text.encode()))
    return [((seed + 31 * i) % 257 - 128) / 256 for i in range(dimensions)]


async def _serve(upstream: Upstream, port: int) -> None:
    await upstream.start(port)
    print(upstream.base_url, flush=True)  # noqa: T201
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await upstream.close()


def main(kind: type[Upstream]) -> None:
    """Serve until ended by a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--api-key")
    asked = parser.parse_args()
    try:
        asyncio.run(_serve(kind(host=asked.host, api_key=asked.api_key), asked.port))
    except KeyboardInterrupt:
        return
