"""Plans, credit and payments against the entries they made, and the funds against the credit."""

from typing import LiteralString

from billing.verification.values import Findings
from kernel.snapshots import Snapshot

# What each row must have in the books, signed: positive as it was entered first, negative what undoes it.
_ENTRIES: LiteralString = """
    WITH must AS (
        SELECT g.id AS source_id, 'grant' AS kind, g.amount_nano AS amount
        FROM billing_creditgrant g
        WHERE NOT EXISTS (SELECT FROM billing_payment p WHERE p.grant_id = g.id)
        UNION ALL
        SELECT id, 'expiry', expired_nano FROM billing_creditgrant WHERE expired_nano > 0
        UNION ALL
        SELECT id, 'payment', amount_nano FROM billing_payment
        UNION ALL
        SELECT id, kind, amount_nano FROM billing_paymentreturn
        UNION ALL
        SELECT id, 'plan', CASE kind WHEN 'proration_credit' THEN -amount_nano ELSE amount_nano END FROM billing_plancharge
    ), does AS (
        SELECT source_id, kind, sum(CASE kind || ' ' || debit || ' ' || credit
            WHEN 'grant credit_given customer' THEN amount_nano
            WHEN 'expiry customer breakage' THEN amount_nano
            WHEN 'payment cash customer' THEN amount_nano
            WHEN 'refund customer cash' THEN amount_nano
            WHEN 'refund cash customer' THEN -amount_nano
            WHEN 'dispute customer cash' THEN amount_nano
            WHEN 'dispute cash customer' THEN -amount_nano
            WHEN 'plan customer revenue' THEN amount_nano
            WHEN 'plan revenue customer' THEN -amount_nano
            ELSE 0 END)::bigint AS amount
        FROM billing_entry
        WHERE kind IN ('grant', 'expiry', 'payment', 'refund', 'dispute', 'plan')
        GROUP BY source_id, kind
    )
    SELECT coalesce(m.source_id, d.source_id) AS source_id, coalesce(m.kind, d.kind) AS kind,
        coalesce(m.amount, 0) AS expected, coalesce(d.amount, 0) AS found, count(*) OVER () AS looked_at
    FROM must m FULL JOIN does d ON d.source_id = m.source_id AND d.kind = m.kind
    ORDER BY coalesce(m.amount, 0) = coalesce(d.amount, 0), 1, 2 LIMIT 100
"""
_FUNDS: LiteralString = """
    SELECT f.budget_id, b.limit_amount, f.needs_check, f.uncovered_nano, coalesce(s.settled, 0) AS settled,
        coalesce(g.credit, 0)::bigint AS credit, coalesce(g.drawn, 0)::bigint AS drawn
    FROM billing_funds f
    JOIN billing_budget b ON b.id = f.budget_id
    LEFT JOIN billing_budgetbalance s ON s.budget_id = f.budget_id AND s.period_start = '1970-01-01'
    CROSS JOIN (
        SELECT sum(amount_nano - expired_nano - withdrawn_nano) AS credit, sum(allocated_nano) AS drawn
        FROM billing_creditgrant
    ) g
"""


def check_credit(snapshot: Snapshot, findings: Findings) -> None:
    """Each grant, payment, return and fee has exactly its entries, and none of these is of nothing. The limit of the funds is
    the credit and what is owed beside it, and no more was drawn than was used."""
    for row in snapshot.execute(_ENTRIES):
        findings.checked["credit"] = row["looked_at"]
        if row["expected"] != row["found"]:
            key = {"source_id": row["source_id"], "kind": row["kind"]}
            findings.differs("credit", "billing_entry", key, expected=row["expected"], found=row["found"])
    for row in snapshot.execute(_FUNDS):
        findings.look("funds")
        key = {"budget_id": row["budget_id"]}
        limit, used = row["credit"] + row["uncovered_nano"], row["drawn"] + row["uncovered_nano"]
        if row["limit_amount"] != limit and not row["needs_check"]:
            findings.differs("funds", "billing_budget", key, expected=limit, found=row["limit_amount"])
        if used > row["settled"]:
            findings.differs("funds", "billing_creditgrant", key, expected=f"at most {row['settled']}", found=used)
