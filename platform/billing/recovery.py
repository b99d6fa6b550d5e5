"""Requests of processes that are gone, of which the ledger knows nothing: the journal has them. They are held from then on, as
if they had been before: whoever knows how far their answers came settles them, and else the reaper by estimate
(`billing.services.reaping`)."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog
from psycopg import Error

from billing.allowances import DrawnFacts
from billing.holds import NO_AMOUNT, HoldRequest
from billing.journal import files, taken_over
from billing.ledger import admit, hold_drawn
from billing.orphans import OrphanFacts, settle_orphan
from kernel import adb
from kernel.errors import ParleyError

log = structlog.get_logger(__name__)

_KNOWN_SQL = """
    SELECT request_id FROM billing_hold WHERE request_id = ANY(%(ids)s)
    UNION ALL
    SELECT request_id FROM billing_usagerecord WHERE request_id = ANY(%(ids)s)
"""
_decode = msgspec.json.Decoder(OrphanFacts | DrawnFacts | uuid.UUID).decode
_decode_facts = msgspec.json.Decoder(OrphanFacts).decode


@dataclass(frozen=True, slots=True)
class _Lost:
    """A request that was noted: by what it is billed, as it was and as JSON, and what it drew from an allowance if it did."""

    facts: OrphanFacts
    line: msgspec.Raw
    drawn: DrawnFacts | None = None


_Noted = Mapping[uuid.UUID, _Lost]


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
    noted: dict[uuid.UUID, _Lost] = {}
    for line in lines:
        try:
            said = _decode(line)
            facts = _decode_facts(said.facts) if isinstance(said, DrawnFacts) else said
        except msgspec.MsgspecError:
            # The last one may be cut: then its provider was not asked yet.
            log.warning("journal_line_not_readable", size=len(line))
            continue
        if isinstance(facts, uuid.UUID):
            noted.pop(facts, None)
        elif isinstance(said, DrawnFacts):
            noted[facts.request_id] = _Lost(facts, said.facts, said)
        else:
            noted[facts.request_id] = _Lost(facts, msgspec.Raw(line))
    return noted


async def _hold(noted: _Noted) -> tuple[int, int]:
    """Hold those of which the ledger has neither a hold nor a record: how many, and how many it refused."""
    by_tenant: dict[uuid.UUID, list[uuid.UUID]] = defaultdict(list)
    for request_id, lost in noted.items():
        by_tenant[lost.facts.payer.tenant_id].append(request_id)
    held = failed = 0
    for tenant_id, requests in by_tenant.items():
        async with adb.transaction(tenant_id) as connection:
            rows = await (await connection.execute(_KNOWN_SQL, {"ids": requests})).fetchall()
        known = {row["request_id"] for row in rows}
        for request_id in requests:
            if request_id not in known:
                try:
                    await _hold_one(noted[request_id])
                except ParleyError:
                    log.exception("request_not_recovered", tenant=str(tenant_id), request=str(request_id))
                    failed += 1
                else:
                    held += 1
    return held, failed


async def _hold_one(lost: _Lost) -> None:
    """Hold what a request drew from an allowance, if that is still there; any other by what no budget binds."""
    facts, drawn = lost.facts, lost.drawn
    if drawn is None:
        await admit(HoldRequest(facts.payer, facts.request_id, (), NO_AMOUNT, lost.line))
        return
    await hold_drawn(facts.payer.tenant_id, facts.request_id, drawn)
    async with adb.transaction(facts.payer.tenant_id) as connection:
        found = await (await connection.execute(_KNOWN_SQL, {"ids": [facts.request_id]})).fetchall()
    if not found:
        # Too late for its budgets: what it used is the platform's loss.
        await settle_orphan(facts, output_tokens=0)
