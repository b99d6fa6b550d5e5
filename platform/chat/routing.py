"""Where the socket is."""

from channels.routing import URLRouter
from django.urls import path

from chat.consumers import rooms_socket

websocket_application = URLRouter([path("ws", rooms_socket)])  # type: ignore[arg-type]
