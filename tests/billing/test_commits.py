"""Who writes what: a tenant's requests one after the other, those of others beside them."""

import asyncio
from collections.abc import Callable

from asgiref.sync import sync_to_async

from billing.commits import WRITERS, writer
from billing.ledger import admit, settle
from kernel import adb
from tests.billing.ledger_support import asking, records, used
from tests.support.cast import Company
from tests.support.patience import PATIENCE_S

_LOCK = "SELECT pg_advisory_xact_lock(uuid_hash_extended(%s, 0))"
"""What each transaction that writes a tenant's ledger takes first."""


async def _one_for_each(new_company: Callable[[], Company]) -> list[Company]:
    """A company for each writer."""
    found: dict[int, Company] = {}
    while len(found) < WRITERS:
        one = await sync_to_async(new_company)()
        found.setdefault(id(writer(one.id)), one)
    return list(found.values())


async def test_a_tenant_whose_ledger_is_locked_keeps_only_its_own_writer(new_company: Callable[[], Company]) -> None:
    locked, *others = await _one_for_each(new_company)
    assert others
    ours = asking(locked.alice)
    async with adb.tenantless() as connection:
        await connection.execute(_LOCK, (locked.id,))
        waiting = asyncio.create_task(admit(ours))
        for other in others:
            asked = asking(other.alice)
            async with asyncio.timeout(PATIENCE_S):
                await settle(await admit(asked), [used(other.alice, asked, 10)])
            assert len(await records(other)) == 1
        assert not waiting.done()
    hold = await waiting
    await settle(hold, [used(locked.alice, ours, 10)])
    assert len(await records(locked)) == 1
