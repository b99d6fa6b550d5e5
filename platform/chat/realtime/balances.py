"""Notes of the balance: whoever may see it, and has a socket open, is told when it changes, wherever that was settled.

The balances of the tenants on this process' sockets are read twice a second, in one round trip for all; requests take no part
in it. A note says the whole balance, so only the newest counts: one comes after each hello, and nothing is ever replayed."""

import uuid
from collections.abc import Collection
from weakref import WeakKeyDictionary

import structlog
from psycopg import Error

from billing.watched import Balance, balances_of
from chat.realtime.socket import Socket
from kernel.errors import Unavailable

log = structlog.get_logger(__name__)

SEES_BALANCE = "usage.read"
"""As REST asks for it."""


class BalanceNotes:
    """What one hub's sockets were told."""

    def __init__(self) -> None:
        self._told: WeakKeyDictionary[Socket, Balance] = WeakKeyDictionary()
        self._failing = False

    async def tell(self, sockets: Collection[Socket]) -> None:
        """Tell those of the sockets whose members may see it of a balance that isn't what they were told last."""
        watching = {socket: tenant for socket in sockets if (tenant := _watched_by(socket)) is not None}
        if not watching:
            return
        try:
            balances = await balances_of(set(watching.values()))
        except (Error, Unavailable) as error:
            if not self._failing:
                log.warning("balances_not_read", error=repr(error))
            self._failing = True
            return
        self._failing = False
        for socket, tenant in watching.items():
            balance = balances[tenant]
            # The member may have lost the right, or the socket its session, while the balance was read.
            if self._told.get(socket) != balance and _watched_by(socket) == tenant:
                self._told[socket] = balance
                socket.balance(balance)


def _watched_by(socket: Socket) -> uuid.UUID | None:
    """The tenant whose balance a socket's member may see."""
    if socket.session is None or socket.closing or not socket.hears_notes:
        return None
    principal = socket.session.principal
    return principal.tenant_id if principal.may(SEES_BALANCE) else None
