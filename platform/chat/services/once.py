"""A command that is carried out once, however often it comes under the same id of the same member."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from chat.services.receipts import AlreadyDone, Receipt, find_receipt
from chat.store import Connection, transaction
from kernel.errors import Conflict, ParleyError
from tenants.principals import Principal

T = TypeVar("T")


async def once(
    *,
    member: Principal,
    command: str,
    cid: str | None,
    do: Callable[[], Awaitable[T]],
    again: Callable[[Connection, Receipt], Awaitable[T]],
    looks_first: bool = True,
) -> T:
    """What `do` answers; where the command was carried out before, what `again` makes of its receipt.

    `do` writes the receipt in its transaction, and lets `AlreadyDone` through. It isn't called for a command that was carried
    out before, unless without `looks_first`: then a command that comes for the first time, as nearly all do, isn't looked for,
    and all that `do` does must be in that transaction, or come after it. Raises `Conflict` when the `cid` was another command's.
    """
    if cid is None:
        return await do()
    if looks_first and (found := await _repeated(member, command, cid, again)) is not None:
        return found[0]
    try:
        return await do()
    except AlreadyDone:
        found = await _repeated(member, command, cid, again)
        if found is None:
            raise Conflict("This cid was another command's.") from None
        return found[0]
    except ParleyError:
        # What is refused now may have been done when it wasn't.
        if looks_first or (found := await _repeated(member, command, cid, again)) is None:
            raise
        return found[0]


async def _repeated(
    member: Principal, command: str, cid: str, again: Callable[[Connection, Receipt], Awaitable[T]]
) -> tuple[T] | None:
    receipt = await find_receipt(member.tenant_id, membership_id=member.membership_id, cid=cid)
    if receipt is None:
        return None
    if receipt.command != command or receipt.id is None:
        raise Conflict("This cid was another command's.")
    async with transaction(member.tenant_id) as connection:
        return (await again(connection, receipt),)
