"""Where the socket is."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from channels.routing import URLRouter
from django.urls import path, re_path

from chat.consumers import rooms_socket
from chat.realtime.frames import SUBPROTOCOL


async def _nowhere(
    scope: MutableMapping[str, Any],
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
) -> None:
    """There is no socket at this path. Accepted first, so that a browser learns why."""
    await receive()
    spoken = SUBPROTOCOL in scope.get("subprotocols", ())
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if spoken else None})
    await send({"type": "websocket.close", "code": 4404, "reason": "no such socket"})


websocket_application = URLRouter([path("ws", rooms_socket), re_path(r"", _nowhere)])  # type: ignore[arg-type]
