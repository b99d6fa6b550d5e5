"""The one ASGI app of a web process.

    /v1/*              providers.gateway   slim, ahead of Django's middleware
    /ws                chat.consumers      Channels
    /api/v1/…/events, …/stream  chat.realtime.sse, as slim
    /healthz, /readyz  config.health
    all else           Django: REST, the schema, the browser app

Servers without lifespan (daphne) work too: what a process needs is made at first use.
"""

import asyncio
import contextlib
import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
_application: Any = get_asgi_application()

from billing import journal, ledger  # noqa: E402 - needs the apps to be loaded
from billing.recovery import recover  # noqa: E402
from chat import lifecycle as rooms  # noqa: E402
from chat.answering import bind  # noqa: E402
from chat.api.urls import UPLOADS  # noqa: E402
from chat.pipeline_answering import PipelineAnswering  # noqa: E402
from chat.realtime import asyncapi  # noqa: E402
from chat.realtime.sse import event_streams, is_stream  # noqa: E402
from chat.routing import websocket_application  # noqa: E402
from config.bodies import Bodies  # noqa: E402
from config.checks import require_secrets  # noqa: E402
from config.health import answer, health  # noqa: E402
from config.telemetry import start_telemetry  # noqa: E402
from kernel import adb, lifecycle, redis  # noqa: E402
from providers.cache import lifecycle as cache  # noqa: E402
from providers.gateway.app import gateway  # noqa: E402
from providers.pipeline import upkeep  # noqa: E402
from providers.pipeline.accept import factory  # noqa: E402
from providers.pipeline.pumps import pumps  # noqa: E402

require_secrets()
start_telemetry("web")
bind(PipelineAnswering())
_django = Bodies(_application, uploads=UPLOADS)
LEDGER_S = 5.0
"""How long a process that ends waits for what nobody else waits for to be written to the books."""

lifecycle.on_drain(rooms.drain)
lifecycle.on_drain(pumps.drain)
lifecycle.on_drain(cache.drain)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Route one connection."""
    if scope["type"] == "http" and lifecycle.is_draining():
        send = _letting_go(send)
    match scope["type"]:
        case "lifespan":
            await _lifespan(receive, send)
        case "http" if scope["path"].startswith("/v1/") or scope["path"] == "/v1":
            await gateway(scope, receive, send)
        case "websocket":
            await websocket_application(scope, receive, send)
        case "http" if scope["path"] == asyncapi.PATH and scope["method"] == "GET":
            await answer(send, 200, asyncapi.published())
        case "http" if is_stream(scope):
            await event_streams(scope, receive, send)
        case "http" if scope["path"] in ("/healthz", "/readyz"):
            await health(scope, receive, send)
        case _:
            await _django(scope, receive, send)


def _letting_go(send: Any) -> Any:
    """Answers on a connection that closes after them: a client's next request finds a process that stays."""

    async def send_and_close(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = message | {"headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await send(message)

    return send_and_close


async def _lifespan(receive: Any, send: Any) -> None:
    recovering: asyncio.Task[int] | None = None
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            recovering = asyncio.create_task(recover(), name="recovery of requests")
            await rooms.start()
            await send({"type": "lifespan.startup.complete"})
        else:
            if recovering is not None:
                recovering.cancel()
            await rooms.close()
            await factory().close()
            await upkeep.close()
            await cache.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEDGER_S):
                    await ledger.drained()
            journal.close()
            await adb.close()
            await redis.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
