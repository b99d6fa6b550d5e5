"""Which budgets there are for a tenant's requests: read with its rate limits, so for a moment it may be what they were before."""

from kernel import adb

BudgetScopes = frozenset[str]
"""The scopes (`billing.holds.scopes_of`) that have budgets in force."""

_SQL = "SELECT DISTINCT scope FROM billing_budget WHERE active"


async def budget_scopes(opened: adb.Connection) -> BudgetScopes:
    """Those of the tenant of this transaction."""
    return frozenset(row["scope"] for row in await (await opened.execute(_SQL)).fetchall())
