"""Requests of processes that are gone, of which the ledger knows nothing: the journal has them. They are held from then on, as
if they had been before: whoever knows how far their answers came settles them, and else the reaper by estimate
(`billing.services.reaping`)."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

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
    a file is one's at a time, and stays until all of it is held. What can't be held now is logged, keeps nothing else, and is
    tried again the next time."""
    held = 0
    for path in files():
        try:
            held += await _recovered(path)
        except (Error, ParleyError, OSError):
            log.exception("journal_not_recovered", file=path.name)
    if held:
        log.warning("journal_recovered", requests=held)
    return held


async def _recovered(path: Path) -> int:
    """Hold what a file has, if its process is gone: how many requests."""
    with taken_over(path) as lines:
        if lines is None:
            return 0
        held, failed = await _hold(_noted(lines))
        if not failed:
            _delete(path)
        return held


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)


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


async def _hold(noted: _Noted) -> tuple[int, int]:
    """Hold those of which the ledger has neither a hold nor a record: how many, and how many it refused."""
    by_tenant: dict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
    for request_id, (facts, _) in noted.items():
        by_tenant[facts.payer.tenant_id].append(request_id)
    held = failed = 0
    for tenant_id, requests in by_tenant.items():
        async with adb.transaction(tenant_id) as connection:
            rows = await (await connection.execute(_KNOWN_SQL, {"ids": requests})).fetchall()
        known = {row["request_id"] for row in rows}
        for request_id in requests:
            if request_id not in known:
                facts, line = noted[request_id]
                try:
                    await admit(HoldRequest(facts.payer, request_id, (), NO_AMOUNT, msgspec.Raw(line)))
                except ParleyError:
                    log.exception("request_not_recovered", tenant=str(tenant_id), request=str(request_id))
                    failed += 1
                else:
                    held += 1
    return held, failed
