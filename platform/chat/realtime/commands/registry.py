"""The table of commands. Each module of this package registers its own by name."""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

import msgspec

from chat.realtime.frames import Ack, Command
from chat.realtime.hub import Hub
from chat.realtime.socket import Socket
from kernel.errors import InvalidRequest, NotAuthenticated
from tenants.principals import Principal

Handler = Callable[[Command, Socket, Hub], Awaitable[Ack]]
B = TypeVar("B")


class Nothing(msgspec.Struct, frozen=True):
    """The body of a command that says all by its name and room."""


_handlers: dict[str, Handler] = {}
_bodies: dict[str, type[msgspec.Struct]] = {}


def command(name: str, *, body: type[msgspec.Struct] = Nothing) -> Callable[[Handler], Handler]:
    """Register a handler for the commands of this name, whose body is a `body`."""

    def register(handler: Handler) -> Handler:
        if name in _handlers:
            raise ValueError(f"{name} has two handlers")
        _handlers[name], _bodies[name] = handler, body
        return handler

    return register


def handler_of(name: str) -> Handler | None:
    """The handler of a command, if this server knows it."""
    return _handlers.get(name)


def known_commands() -> list[str]:
    """The commands that this server carries out."""
    return sorted(_handlers)


def command_bodies() -> dict[str, type[msgspec.Struct]]:
    """What each command's body is."""
    return dict(_bodies)


# --- what handlers read from a command --------------------------------------------------------------------------------


def member_of(socket: Socket) -> Principal:
    """Who asks. Raises `NotAuthenticated`."""
    if socket.session is None:
        raise NotAuthenticated
    return socket.session.principal


def room_of(command: Command) -> UUID:
    """The room it is about. Raises `InvalidRequest`."""
    if command.room is None:
        raise InvalidRequest(f"{command.type}: a room is needed.", details={"param": "room"})
    return command.room


def body_of(command: Command, kind: type[B]) -> B:
    """Its body, as what it should be. Raises `InvalidRequest`."""
    try:
        return msgspec.json.decode(command.body, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidRequest(f"body: {str(error)[:200]}", details={"param": "body"}) from error
