"""What a tenant's subscription means to its requests: read with the prices of a route, so for a few seconds it may be an
earlier one."""

from dataclasses import dataclass

from kernel import adb

_SQL = """
    SELECT s.state, p.markup_bps FROM billing_subscription s JOIN billing_plan p ON p.id = s.plan_id
"""
_REFUSED = frozenset({"suspended", "cancelled"})


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """At which markup the platform's models are sold (None: the book's own prices), and whether they are to be had."""

    markup_bps: int | None = None
    is_refused: bool = False


NO_PLAN = PlanTerms()
"""Of a tenant that never had a subscription: nothing is limited by it."""


async def plan_terms(opened: adb.Connection) -> PlanTerms:
    """The terms in force for the tenant of this transaction."""
    row = await (await opened.execute(_SQL)).fetchone()
    return NO_PLAN if row is None else PlanTerms(row["markup_bps"], row["state"] in _REFUSED)
