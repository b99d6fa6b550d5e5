"""Who is on a socket, and whether they still may be."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime

from chat.store import first, transaction
from kernel.errors import NotAuthenticated, ParleyError, PermissionDenied
from tenants.credentials import authenticate, member_of_claims
from tenants.epochs import Epochs, Subject, epochs_of
from tenants.keys import PREFIX
from tenants.principals import Principal
from tenants.services.tickets import redeem_ticket
from tenants.tokens import read_access


@dataclass(frozen=True, slots=True)
class Session:
    """A credential that held: a token with its epochs and its end, or an API key, kept to be tried again."""

    principal: Principal
    subject: Subject
    epochs: Epochs
    expires_at: datetime | None
    address: str
    key: str | None = field(default=None, repr=False)


def check_welcome(principal: Principal) -> None:
    """Raise `PermissionDenied` for whom a socket has nothing: no rooms, and no balance. Each command checks its own."""
    if not principal.may("usage.read"):
        principal.require("rooms.read")


async def open_session(*, token: str | None, ticket: str | None, address: str) -> Session:
    """The session of an access token, an API key, or a ticket for one.

    Raises `NotAuthenticated`, `PermissionDenied` (also without anything to hear), `Unavailable`.
    """
    if ticket is not None:
        token = await redeem_ticket(ticket)
    if token is None:
        raise NotAuthenticated("hello: a token or a ticket is needed.")
    if token.startswith(PREFIX):
        principal = await authenticate(token, address=address)
        check_welcome(principal)
        return Session(
            principal=principal,
            subject=Subject(principal.tenant_id, principal.membership_id, principal.api_key_id),
            epochs=(),
            expires_at=None,
            address=address,
            key=token,
        )
    claims = read_access(token)
    principal = await member_of_claims(claims)
    check_welcome(principal)
    return Session(
        principal=principal,
        subject=claims.subject,
        epochs=claims.epochs,
        expires_at=claims.expires_at,
        address=address,
    )


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of sessions. `over` are those that no longer hold, and why: `NotAuthenticated`, or `PermissionDenied` for
    good. `changed` are those of keys that may something else than before, as they are now."""

    over: dict[Session, ParleyError]
    changed: dict[Session, Session]


async def check_sessions(sessions: Collection[Session]) -> Checked:
    """See which of the sessions still hold.

    Tokens are checked in one pass over their epochs; keys one by one, by what this process keeps of them.
    """
    over: dict[Session, ParleyError] = {}
    changed: dict[Session, Session] = {}
    tokens = [session for session in sessions if session.key is None]
    in_force = await epochs_of({session.subject for session in tokens})
    for session in tokens:
        if in_force[session.subject] != session.epochs:
            over[session] = await _why(session)
    for session in sessions:
        if session.key is None:
            continue
        try:
            principal = await authenticate(session.key, address=session.address)
            check_welcome(principal)
            if session.principal.may("rooms.read"):
                # It may be in rooms that it is told of.
                principal.require("rooms.read")
        except (NotAuthenticated, PermissionDenied) as error:
            over[session] = error
            continue
        if principal != session.principal:
            changed[session] = replace(session, principal=principal)
    return Checked(over=over, changed=changed)


async def _why(session: Session) -> ParleyError:
    async with transaction(session.principal.tenant_id) as connection:
        row = await first(connection, "SELECT status FROM tenants_tenant WHERE id = %s", (session.principal.tenant_id,))
    if row is not None and row["status"] == "suspended":
        return PermissionDenied("This tenant is suspended.", details={"reason": "suspended"})
    return NotAuthenticated("The session's rights have changed. Refresh it.")
