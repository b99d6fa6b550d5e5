"""What a socket can ask for. An error in one command is told in an `err`, and never closes the socket.

Each command is a handler in one of this package's modules, registered by its name.
"""

import structlog

from chat.bounds import CID_CHARS_MAX
from chat.checks import check_text
from chat.realtime.commands import generations, messages, presence, rooms
from chat.realtime.commands.registry import command_bodies, handler_of, known_commands
from chat.realtime.frames import Command, Err
from chat.realtime.hub import Hub
from chat.realtime.socket import Socket
from kernel.errors import InternalError, InvalidRequest, ParleyError, RateLimited, Unavailable
from kernel.redis import RedisError

__all__ = ["carry_out", "command_bodies", "generations", "known_commands", "messages", "presence", "rooms"]

log = structlog.get_logger(__name__)

_UNAVAILABLE_RETRY_MS = 1000


class NotSupported(InvalidRequest):
    """This server doesn't know this command."""

    code = "not_supported"


async def carry_out(command: Command, *, socket: Socket, hub: Hub) -> None:
    """Carry out a command and answer it with `ack` or `err`."""
    try:
        check_text(command.cid, field="cid", chars_max=CID_CHARS_MAX, blank=True)
        handler = handler_of(command.type)
        if handler is None:
            raise NotSupported
        socket.say(await handler(command, socket, hub))
    except ParleyError as error:
        socket.say(_err(command.cid, error))
    except RedisError:
        socket.say(_err(command.cid, Unavailable()))
    except Exception:
        log.exception("command_failed", type=command.type)
        socket.say(_err(command.cid, InternalError()))


def _err(cid: str, error: ParleyError) -> Err:
    if isinstance(error, RateLimited):
        return Err(cid=cid, code=error.code, message=error.message, retry_ms=error.retry_after_s * 1000)
    if isinstance(error, Unavailable):
        return Err(cid=cid, code=error.code, message=error.message, retry_ms=_UNAVAILABLE_RETRY_MS)
    return Err(cid=cid, code=error.code, message=error.message)
