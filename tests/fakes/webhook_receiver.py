"""An endpoint over real HTTP that takes what it is sent, or misbehaves when told to.

`with WebhookReceiver() as receiver:` listens on a free port of loopback, in a thread. `verified` checks a signature as a receiver
by the Standard Webhooks convention does, in code that shares nothing with Parley's.
"""

import asyncio
import base64
import hashlib
import hmac
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Received:
    """A request."""

    headers: Mapping[str, str]
    body: bytes

    def verified(self, secret: str) -> bool:
        """Whether one of the signatures is by this secret, as it was shown."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return any(hmac.compare_digest(wanted, given) for given in self.headers["webhook-signature"].split(" "))


class WebhookReceiver:
    """`answers` are the status codes of the next requests, then it is `status`; `hangs` keeps everybody waiting."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[int] = []
        self.status = 204
        self.says = b""
        self.hangs = False
        self.url = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="WebhookReceiver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(10):
            raise RuntimeError("the receiver did not start")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        app = web.Application()
        app.router.add_post("/hook", self._take)
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.received.append(
            Received({name.lower(): value for name, value in request.headers.items()}, await request.read())
        )
        if self.hangs:
            await asyncio.Event().wait()
        status = self.answers.pop(0) if self.answers else self.status
        headers = {"Location": self.url} if 300 <= status < 400 else {}
        return web.Response(status=status, body=self.says, headers=headers)
