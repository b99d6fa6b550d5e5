"""Which calibration holds for a tenant's look-ups: its own where it has one for the embedder, else the shipped one, which
is for the default embedder alone."""

from collections import OrderedDict
from uuid import UUID

import msgspec

from kernel import adb
from providers.semantic.calibration import shipped
from providers.semantic.values import Calibration

_MAX_KNOWN = 1_000
_SQL = "SELECT body FROM providers_semanticcalibration WHERE embedder = %s AND version = %s"

_known: "OrderedDict[tuple[UUID, str, str], Calibration]" = OrderedDict()


async def calibration_of(tenant_id: UUID, *, embedder: str, version: str) -> Calibration | None:
    """The calibration of that version, or the shipped one without a version; None where there is none for the embedder. Raises
    psycopg's errors and `Unavailable`."""
    if not version:
        return shipped_for(embedder)
    key = (tenant_id, embedder, version)
    found = _known.get(key)
    if found is None:
        async with adb.transaction(tenant_id) as connection:
            row = await (await connection.execute(_SQL, (embedder, version))).fetchone()
        if row is None:
            return shipped_for(embedder)
        found = _known[key] = msgspec.convert(row["body"], Calibration)
        if len(_known) > _MAX_KNOWN:
            _known.popitem(last=False)
    return found


def shipped_for(embedder: str) -> Calibration | None:
    """The shipped calibration, if it is for this embedder."""
    ours = shipped()
    return ours if ours.embedder == embedder else None
