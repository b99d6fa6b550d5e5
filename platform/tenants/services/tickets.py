"""Tickets: how a browser opens a socket without its token in the URL. Single use, 30 s, bound to the credential's membership.

Redis holds neither the ticket nor the credential it stands for: the key is the ticket's digest, the value is encrypted.
"""

import hashlib
import secrets
import uuid
from typing import TypedDict

from django.conf import settings

from kernel import crypto
from kernel.errors import NotAuthenticated, Unavailable
from kernel.redis import RedisError, async_redis, sync_redis

_MAX_TICKET_CHARS = 64


class _Cell(TypedDict):
    tenant_id: uuid.UUID
    table: str
    row_id: uuid.UUID
    column: str


def issue_ticket(*, credential: str) -> str:
    """A ticket that stands for `credential` once. Raises `Unavailable` with Redis away."""
    ticket = secrets.token_urlsafe(32)
    try:
        sync_redis().set(_key(ticket), _seal(ticket, credential), ex=settings.WS_TICKET_S)
    except RedisError as error:
        raise Unavailable("Tickets can't be issued at the moment.") from error
    return ticket


async def redeem_ticket(ticket: str) -> str:
    """The credential that a ticket stands for; the ticket is then spent. Raises `NotAuthenticated`, `Unavailable`."""
    if len(ticket) > _MAX_TICKET_CHARS:
        raise NotAuthenticated("The ticket is not valid, or has been used.")
    try:
        sealed = await async_redis().getdel(_key(ticket))
    except RedisError as error:
        raise Unavailable("Tickets can't be checked at the moment.") from error
    if not isinstance(sealed, bytes):
        raise NotAuthenticated("The ticket is not valid, or has been used.")
    return crypto.decrypt(sealed, **_cell(ticket)).decode()


def _seal(ticket: str, credential: str) -> bytes:
    return crypto.encrypt(credential.encode(), **_cell(ticket))


def _cell(ticket: str) -> "_Cell":
    return {
        "tenant_id": crypto.PLATFORM,
        "table": "ws_ticket",
        "row_id": uuid.UUID(_digest(ticket)[:32]),
        "column": "value",
    }


def _key(ticket: str) -> str:
    return f"parley:ws-ticket:{_digest(ticket)}"


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).hexdigest()
