"""The rules in force: read from PostgreSQL at most every `RULES_TTL_S` seconds per tenant and process."""

import uuid
from functools import partial

from kernel import adb
from kernel.kept import Kept
from providers.guardrails.rules import NO_RULES, Rules, compile_rules

RULES_TTL_S = 5.0
_MAX_TENANTS = 10_000

_SQL = """
    SELECT deny, allow, mask_secrets, mask_cards, mask_input, CASE WHEN capture THEN capture_days END AS capture_days
    FROM providers_gatewaypolicy WHERE name = 'default'
"""

_kept: Kept[uuid.UUID, Rules] = Kept(ttl_s=lambda: RULES_TTL_S, max_keys=_MAX_TENANTS)


async def rules_of(tenant_id: uuid.UUID) -> Rules:
    """The tenant's rules; `NO_RULES` where it has none."""
    read = partial(_read, tenant_id)
    return _kept.look(tenant_id, read) or await _kept.get(tenant_id, read)


def forget(tenant_id: uuid.UUID) -> None:
    """Read this tenant's rules anew the next time in this process: they have changed."""
    _kept.forget(tenant_id)


async def _read(tenant_id: uuid.UUID) -> Rules:
    async with adb.transaction(tenant_id) as connection:
        row = await (await connection.execute(_SQL)).fetchone()
    return compile_rules(**row) if row else NO_RULES
