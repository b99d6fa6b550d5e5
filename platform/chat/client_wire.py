"""Frames between a client and its server, as text."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from chat.client_state import Json
from chat.realtime.frames import Ack, CloseCode, ServerFrame

_frames: msgspec.json.Decoder[ServerFrame] = msgspec.json.Decoder(ServerFrame)
Token = str | Callable[[], Awaitable[str]]
"""A credential, or what gives a fresh one each time it is called."""
_OPS = frozenset(
    {"welcome", "expiring", "ack", "err", "ev", "delta", "note", "presence", "typing", "reset", "ping", "pong"}
)


FINAL = frozenset(
    {CloseCode.BAD_FRAME, CloseCode.FORBIDDEN, CloseCode.NO_ROOM, CloseCode.REPLACED, CloseCode.TOO_LARGE}
)
"""After these closes it doesn't come back."""
FLEETING = frozenset({"room.join", "room.leave", "typing", "presence.set"})
"""Commands that say something of a connection: on the next one they mean nothing."""


class Closed(Exception):
    """The server closed the socket for good. `code` says why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code


class CommandFailed(Exception):
    """The server refused a command. With `retry_ms`, trying again may help."""

    def __init__(self, code: str, message: str, retry_ms: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.retry_ms = retry_ms


@dataclass
class Asked:
    """A command that waits for its answer."""

    frame: Json
    answer: "asyncio.Future[Ack]"


class BadServer(Exception):
    """The server said what is not of the protocol, or nothing when it should have."""


async def credential(token: Token) -> str:
    """The token as of now. Raises `OSError` when it can't be had, whatever the caller's function raised: it is tried again, as
    every connection is that fails."""
    if not callable(token):
        return token
    try:
        return await token()
    except Exception as error:
        raise OSError(f"no token could be had: {error!r}") from error


def as_text(frame: Json) -> str:
    """A frame for the server."""
    return msgspec.json.encode(frame).decode()


def read(text: str) -> Any:
    """The frame; None for a kind that this client doesn't know, of a newer server. Raises `BadServer`."""
    try:
        return _frames.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        op = _op(text)
        if op is None or op in _OPS:
            raise BadServer(f"no frame: {str(error)[:100]}") from error
        return None


def _op(text: str) -> str | None:
    try:
        op = msgspec.json.decode(text, type=dict[str, Any]).get("op")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return op if isinstance(op, str) else None
