"""What workers do with what is due in the outbox, here and now."""

import uuid

from kernel.outbox import consuming, relay
from kernel.tenancy import tenant_scope

ROUNDS_MAX = 50
WAIT_S = 30


def work_off(tenant_id: uuid.UUID) -> int:
    """Do what a tenant's messages ask for, until none is due. How many."""
    done = 0
    for _ in range(ROUNDS_MAX):
        claimed = relay.claim_due()
        for one in claimed:
            with tenant_scope(one.tenant_id):
                begun = consuming.consume(message_id=one.message_id, claim=one.claim, topic=one.topic)
            if begun is not None:
                begun.result(WAIT_S)
            done += one.tenant_id == tenant_id
        if not claimed:
            break
    return done
