"""Balances of tenants that are being looked at: read again and again, for all of them in one round trip.

Whoever settles does nothing for it: what nobody looks at costs nothing, and neither does what is looked at cost a request.
`billing.services.balances` gives the same numbers to REST."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from kernel import adb

TENANTS_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Balance:
    """In nano-USD: what the tenant owes (negative where it has paid in advance); what is left of its credit and not held for
    requests under way, None where nothing is refused for want of it."""

    owed_nano: int
    funds_nano: int | None


async def balances_of(tenants: Collection[uuid.UUID]) -> Mapping[uuid.UUID, Balance]:
    """How these tenants stand, as far as everything settled goes. Raises `Unavailable`, and psycopg's `Error`."""
    found: dict[uuid.UUID, Balance] = {}
    wanted = list(tenants)
    for first in range(0, len(wanted), TENANTS_AT_ONCE):
        some = wanted[first : first + TENANTS_AT_ONCE]
        async with adb.tenantless() as connection:
            rows = await (await connection.execute("SELECT * FROM lookup.balances_of(%s)", (some,))).fetchall()
        found |= {row["tenant"]: Balance(row["owed_nano"], row["funds_nano"]) for row in rows}
    return found
