"""Tickets: how a browser opens a socket without its token in the URL. Single use, 30 s, bound to the credential's membership."""

import secrets

from django.conf import settings

from kernel.errors import NotAuthenticated, Unavailable
from kernel.redis import RedisError, async_redis, sync_redis

_MAX_TICKET_CHARS = 64


def issue_ticket(*, credential: str) -> str:
    """A ticket that stands for `credential` once. Raises `Unavailable` with Redis away."""
    ticket = secrets.token_urlsafe(32)
    try:
        sync_redis().set(_key(ticket), credential, ex=settings.WS_TICKET_S)
    except RedisError as error:
        raise Unavailable("Tickets can't be issued at the moment.") from error
    return ticket


async def redeem_ticket(ticket: str) -> str:
    """The credential that a ticket stands for; the ticket is then spent. Raises `NotAuthenticated`, `Unavailable`."""
    if len(ticket) > _MAX_TICKET_CHARS:
        raise NotAuthenticated("The ticket is not valid, or has been used.")
    try:
        credential = await async_redis().getdel(_key(ticket))
    except RedisError as error:
        raise Unavailable("Tickets can't be checked at the moment.") from error
    if credential is None:
        raise NotAuthenticated("The ticket is not valid, or has been used.")
    return credential.decode() if isinstance(credential, bytes) else credential


def _key(ticket: str) -> str:
    return f"parley:ws-ticket:{ticket}"
