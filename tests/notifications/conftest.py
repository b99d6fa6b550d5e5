"""The outbox, worked off here as workers do; nothing waits in it that another test wrote."""

from collections.abc import Callable

import pytest

from kernel.outbox import consuming, relay
from kernel.tenancy import tenant_scope
from tests.isolation.roles import administrator

ROUNDS_MAX = 20


@pytest.fixture(autouse=True)
def _nothing_waits(database: str) -> None:
    with administrator() as admin:
        admin.execute("DELETE FROM kernel_outboxmessage")


@pytest.fixture
def work_off() -> Callable[[], int]:
    """Relays and consumes what is due, and what that leads to. How many messages."""
    return _work_off


def _work_off() -> int:
    worked = 0
    for _ in range(ROUNDS_MAX):
        claimed = relay.claim_due()
        begun = []
        for one in claimed:
            with tenant_scope(one.tenant_id):
                begun.append(consuming.consume(message_id=one.message_id, claim=one.claim, topic=one.topic))
        for future in begun:
            if future is not None:
                future.result(20)
        worked += len(claimed)
        if not claimed:
            return worked
    raise AssertionError("the outbox is never empty")
