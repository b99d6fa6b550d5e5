"""What guards the money: holds, the balances of budgets, and their limits."""

from typing import LiteralString

from billing.commits import LONGEST_S
from billing.verification.values import Findings
from kernel.snapshots import Snapshot

GRACE_S = 120
"""A hold that is so much past its time should have been reaped."""

_HELD: LiteralString = """
    WITH held AS (
        SELECT b.budget_id, b.since, sum(h.amount_nano) AS nano, sum(h.tokens) AS tokens
        FROM billing_hold h
        CROSS JOIN LATERAL unnest(h.budgets, h.periods) AS b (budget_id, since)
        WHERE EXISTS (SELECT FROM billing_budget g WHERE g.id = b.budget_id)
        GROUP BY b.budget_id, b.since
    ), compared AS (
        SELECT coalesce(s.budget_id, h.budget_id) AS budget_id, coalesce(s.period_start, h.since) AS period_start,
            coalesce(CASE WHEN s.measure = 'tokens' THEN h.tokens ELSE h.nano END, 0)::bigint AS expected,
            coalesce(s.held, 0) AS found
        FROM billing_budgetbalance s FULL JOIN held h ON h.budget_id = s.budget_id AND h.since = s.period_start
    )
    SELECT *, count(*) OVER () AS looked_at FROM compared ORDER BY expected = found, budget_id, period_start LIMIT 100
"""
_OVER: LiteralString = """
    SELECT s.budget_id, s.period_start, b.limit_amount AS expected, s.held + s.settled AS found
    FROM billing_budgetbalance s
    JOIN billing_budget b ON b.id = s.budget_id
    JOIN tenants_tenant t ON t.id = b.tenant_id
    WHERE b.active AND b.mode = 'hard' AND s.held + s.settled > b.limit_amount
      AND (b.tightened_at IS NULL OR b.tightened_at < s.period_start::timestamp AT TIME ZONE t.timezone)
    ORDER BY 1, 2 LIMIT 100
"""
_STALE: LiteralString = """
    SELECT request_id, least(expires_at, created_at + make_interval(secs => %(longest)s)) AS due, now() AS found
    FROM billing_hold
    WHERE least(expires_at, created_at + make_interval(secs => %(longest)s)) < now() - make_interval(secs => %(grace)s)
    ORDER BY 1 LIMIT 100
"""


def check_holds(snapshot: Snapshot, findings: Findings) -> None:
    """What is held of each budget is the sum of its open holds."""
    for row in snapshot.execute(_HELD):
        findings.checked["balances"] = row["looked_at"]
        if row["expected"] != row["found"]:
            key = {"budget_id": row["budget_id"], "period_start": row["period_start"], "column": "held"}
            findings.differs("held", "billing_budgetbalance", key, expected=row["expected"], found=row["found"])


def check_limits(snapshot: Snapshot, findings: Findings) -> None:
    """No hard budget is over its limit, unless that was lowered, or began to bind, within the period."""
    findings.look("limits", findings.checked.get("balances", 0))
    for row in snapshot.execute(_OVER):
        key = {"budget_id": row["budget_id"], "period_start": row["period_start"], "column": "held + settled"}
        findings.differs(
            "limit", "billing_budgetbalance", key, expected=f"at most {row['expected']}", found=row["found"]
        )


def check_ages(snapshot: Snapshot, findings: Findings) -> None:
    """No hold is older than its time."""
    for row in snapshot.execute(_STALE, {"longest": LONGEST_S, "grace": GRACE_S}):
        key = {"request_id": row["request_id"]}
        findings.differs("stale hold", "billing_hold", key, expected=f"resolved at {row['due']}", found="still held")
