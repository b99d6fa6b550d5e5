"""The rules in force: read from PostgreSQL at most every `RULES_TTL_S` seconds per tenant and process."""

import time
import uuid
from collections import OrderedDict

from kernel import adb
from providers.guardrails.rules import NO_RULES, Rules, compile_rules

RULES_TTL_S = 5.0
_MAX_TENANTS = 10_000

_SQL = """
    SELECT deny, allow, mask_secrets, mask_cards, mask_input, CASE WHEN capture THEN capture_days END AS capture_days
    FROM providers_gatewaypolicy WHERE name = 'default'
"""

_kept: "OrderedDict[uuid.UUID, tuple[float, Rules]]" = OrderedDict()


async def rules_of(tenant_id: uuid.UUID) -> Rules:
    """The tenant's rules; `NO_RULES` where it has none."""
    kept = _kept.get(tenant_id)
    if kept is not None and time.monotonic() - kept[0] < RULES_TTL_S:
        return kept[1]
    async with adb.transaction(tenant_id) as connection:
        row = await (await connection.execute(_SQL)).fetchone()
    rules = compile_rules(**row) if row else NO_RULES
    _kept[tenant_id] = (time.monotonic(), rules)
    _kept.move_to_end(tenant_id)
    while len(_kept) > _MAX_TENANTS:
        _kept.popitem(last=False)
    return rules


def forget(tenant_id: uuid.UUID) -> None:
    """Read this tenant's rules anew the next time in this process: they have changed."""
    _kept.pop(tenant_id, None)
