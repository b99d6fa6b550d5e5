"""Requests of processes that are gone, of which the ledger knows nothing: the journal has them. They are held from then on, as
if they had been before: whoever knows how far their answers came settles them, and else the reaper by estimate
(`billing.services.reaping`)."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec
import structlog
from psycopg import Error

from billing.holds import NO_AMOUNT, HoldRequest
from billing.journal import files, taken_over
from billing.ledger import admit
from billing.orphans import OrphanFacts
from kernel import adb
from kernel.errors import ParleyError

log = structlog.get_logger(__name__)

_KNOWN_SQL = """
    SELECT request_id FROM billing_hold WHERE request_id = ANY(%(ids)s)
    UNION ALL
    SELECT request_id FROM billing_usagerecord WHERE request_id = ANY(%(ids)s)
"""
_decode = msgspec.json.Decoder(OrphanFacts | uuid.UUID).decode
_Noted = Mapping[uuid.UUID, tuple[OrphanFacts, bytes]]


async def recover() -> int:
    """Hold what processes that are gone had begun and the ledger knows nothing of: how many requests. Several may try at once:
    a file is one's at a time, and stays until all of it is held."""
    held = 0
    for path in files():
        with taken_over(path) as lines:
            if lines is not None:
                held += await _hold(_noted(lines))
                path.unlink(missing_ok=True)
    if held:
        log.warning("journal_recovered", requests=held)
    return held


async def recover_logged() -> None:
    """The same, for who has nobody to tell: what can't be held now stays for the next time."""
    try:
        await recover()
    except (Error, ParleyError):
        log.exception("journal_not_recovered")


def _noted(lines: Iterable[bytes]) -> _Noted:
    """What was noted and not taken back."""
    noted: dict[uuid.UUID, tuple[OrphanFacts, bytes]] = {}
    for line in lines:
        try:
            said = _decode(line)
        except msgspec.MsgspecError:
            # The last one may be cut: then its provider was not asked yet.
            log.warning("journal_line_not_readable", size=len(line))
            continue
        if isinstance(said, uuid.UUID):
            noted.pop(said, None)
        else:
            noted[said.request_id] = (said, line)
    return noted


async def _hold(noted: _Noted) -> int:
    """Hold those of which the ledger has neither a hold nor a record."""
    by_tenant: dict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
    for request_id, (facts, _) in noted.items():
        by_tenant[facts.payer.tenant_id].append(request_id)
    held = 0
    for tenant_id, requests in by_tenant.items():
        async with adb.transaction(tenant_id) as connection:
            rows = await (await connection.execute(_KNOWN_SQL, {"ids": requests})).fetchall()
        known = {row["request_id"] for row in rows}
        for request_id in requests:
            if request_id not in known:
                facts, line = noted[request_id]
                await admit(HoldRequest(facts.payer, request_id, (), NO_AMOUNT, msgspec.Raw(line)))
                held += 1
    return held
