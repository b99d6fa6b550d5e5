"""Entries against usage records, and accounts against entries."""

from typing import LiteralString

from billing.verification.values import Findings, Window
from kernel.snapshots import Snapshot

# Every record has exactly the entries that its amounts ask for, and each entry of usage has a record. Of an entry between
# other accounts than its kind's nothing is counted, so it shows as missing, and as one too many.
_ENTRIES: LiteralString = """
    WITH posted AS (
        SELECT source_id, line,
            coalesce(sum(amount_nano) FILTER (WHERE kind = 'usage' AND debit = 'customer' AND credit = 'revenue'), 0)
                AS sell_nano,
            coalesce(sum(amount_nano) FILTER (WHERE kind = 'loss' AND debit = 'platform_loss' AND credit = 'revenue'), 0)
                AS loss_nano,
            coalesce(sum(amount_nano) FILTER (
                WHERE kind = 'cost' AND debit = 'provider_cost' AND credit = 'provider_payable'), 0) AS cost_nano,
            count(*) AS entries
        FROM billing_entry
        WHERE source_id BETWEEN %(first)s AND %(last)s AND kind IN ('usage', 'loss', 'cost') AND reverses IS NULL
        GROUP BY source_id, line
    ), used AS (
        SELECT request_id, attempt, sum(sell_nano)::bigint AS sell_nano, sum(loss_nano)::bigint AS loss_nano,
            sum(cost_nano)::bigint AS cost_nano,
            sum((sell_nano > 0)::int + (loss_nano > 0)::int + (cost_nano > 0)::int) AS entries
        FROM billing_usagerecord
        WHERE request_id BETWEEN %(first)s AND %(last)s
        GROUP BY request_id, attempt
    )
    SELECT coalesce(u.request_id, p.source_id) AS request_id, coalesce(u.attempt, p.line) AS attempt,
        u.request_id IS NULL AS is_posted_only,
        ARRAY[coalesce(u.sell_nano, 0), coalesce(u.loss_nano, 0), coalesce(u.cost_nano, 0), coalesce(u.entries, 0)]::bigint[]
            AS expected,
        ARRAY[coalesce(p.sell_nano, 0), coalesce(p.loss_nano, 0), coalesce(p.cost_nano, 0), coalesce(p.entries, 0)]::bigint[]
            AS found
    FROM used u FULL JOIN posted p ON p.source_id = u.request_id AND p.line = u.attempt
    WHERE (coalesce(u.sell_nano, 0), coalesce(u.loss_nano, 0), coalesce(u.cost_nano, 0), coalesce(u.entries, 0))
        IS DISTINCT FROM
        (coalesce(p.sell_nano, 0), coalesce(p.loss_nano, 0), coalesce(p.cost_nano, 0), coalesce(p.entries, 0))
    ORDER BY 1, 2 LIMIT 100
"""
_COUNTED: LiteralString = "SELECT count(*) AS entries FROM billing_entry WHERE source_id BETWEEN %(first)s AND %(last)s"
_ACCOUNTS: LiteralString = """
    WITH summed AS (
        SELECT e.kind, sum(e.debit)::bigint AS debits, sum(e.credit)::bigint AS credits
        FROM billing_entry b CROSS JOIN LATERAL (VALUES
            (b.debit, b.amount_nano, 0::bigint), (b.credit, 0::bigint, b.amount_nano)
        ) AS e (kind, debit, credit)
        GROUP BY e.kind
    )
    SELECT coalesce(a.kind, s.kind) AS kind,
        coalesce(s.debits, 0) AS debits_expected, coalesce(a.debits_nano, 0) AS debits_found,
        coalesce(s.credits, 0) AS credits_expected, coalesce(a.credits_nano, 0) AS credits_found
    FROM billing_account a FULL JOIN summed s ON s.kind = a.kind
    ORDER BY 1
"""
_PARTS = ("sell_nano", "loss_nano", "cost_nano", "entries")


def check_entries(snapshot: Snapshot, window: Window, findings: Findings) -> None:
    """Each record's amounts are its entries', and there are no others."""
    bounds = {"first": window.first_id, "last": window.last_id}
    counted = snapshot.execute(_COUNTED, bounds).fetchone()
    findings.look("entries", counted["entries"] if counted else 0)
    for row in snapshot.execute(_ENTRIES, bounds):
        part = next(i for i, (must, does) in enumerate(zip(row["expected"], row["found"], strict=True)) if must != does)
        findings.differs(
            "entries",
            "billing_entry",
            {"request_id": row["request_id"], "attempt": row["attempt"], "column": _PARTS[part]},
            expected="no entry without a usage record" if row["is_posted_only"] else row["expected"][part],
            found=row["found"][part],
        )


def check_accounts(snapshot: Snapshot, findings: Findings) -> None:
    """Each account's totals are the sums of its entries, and all debits are all credits."""
    debited = credited = 0
    for row in snapshot.execute(_ACCOUNTS):
        findings.look("accounts")
        debited += row["debits_found"]
        credited += row["credits_found"]
        for side in ("debits", "credits"):
            if row[f"{side}_expected"] != row[f"{side}_found"]:
                key = {"kind": row["kind"], "column": f"{side}_nano"}
                findings.differs(
                    "accounts", "billing_account", key, expected=row[f"{side}_expected"], found=row[f"{side}_found"]
                )
    if debited != credited:
        findings.differs("balance", "billing_account", {"column": "credits_nano"}, expected=debited, found=credited)
