"""Invoices against the usage, the fees and the credit that they list, against one another, and against the books."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, LiteralString

from psycopg import sql

from billing.invoices.gathering import CENT, GATHERING_MAX_S, GROUP, SUMMED, SUMS
from billing.invoices.issuing import tax_of
from billing.verification.values import Findings
from kernel.snapshots import Snapshot

_INVOICES: LiteralString = "SELECT * FROM billing_invoice WHERE state <> 'draft' ORDER BY kind, number"
_SUMMED_LINES: LiteralString = """
    SELECT kind, sum(amount_nano)::bigint AS nano, count(*) AS lines FROM billing_invoiceline WHERE invoice_id = %(id)s
    GROUP BY kind
"""
_KEYS = ", ".join(GROUP)
_LINES = f"""
    WITH must AS ({SUMMED}), does AS (
        SELECT {_KEYS}, {", ".join(SUMS)} FROM billing_invoiceline
        WHERE invoice_id = %(id)s AND kind IN ('usage', 'adjustment')
    ), both_ways AS (
        SELECT true AS listed, does.* FROM does UNION ALL SELECT false, must.* FROM must
    )
    SELECT {_KEYS}, {
    ", ".join(
        f"coalesce(sum({name}) FILTER (WHERE NOT listed), 0)::bigint AS {name}_expected, "
        f"coalesce(sum({name}) FILTER (WHERE listed), 0)::bigint AS {name}_found"
        for name in SUMS
    )
}
    FROM both_ways GROUP BY {_KEYS}
    HAVING count(*) FILTER (WHERE listed) <> 1 OR count(*) <> 2
        OR {" OR ".join(f"sum(CASE WHEN listed THEN {name} ELSE -{name} END) <> 0" for name in SUMS)}
    ORDER BY {_KEYS} LIMIT 20
"""  # noqa: S608 - constants
# Each document has exactly these entries: an invoice its tax, what is void or a credit note what it gave back.
_ENTRIES: LiteralString = """
    WITH must AS (
        SELECT id AS source_id, 'tax' AS kind, 'customer' AS debit, 'tax' AS credit, tax_nano AS amount
        FROM billing_invoice WHERE state <> 'draft' AND kind = 'invoice'
        UNION ALL SELECT id, 'void', 'tax', 'customer', tax_nano FROM billing_invoice WHERE state = 'void'
        UNION ALL SELECT id, 'void', 'revenue', 'customer', net_nano FROM billing_invoice
            WHERE state = 'void' AND NOT replaced
        UNION ALL SELECT id, 'credit_note', 'tax', 'customer', tax_nano FROM billing_invoice
            WHERE state <> 'draft' AND kind = 'credit_note'
        UNION ALL SELECT id, 'credit_note', 'revenue', 'customer', net_nano FROM billing_invoice
            WHERE state <> 'draft' AND kind = 'credit_note'
    ), does AS (
        SELECT source_id, kind, debit, credit, sum(amount_nano)::bigint AS amount FROM billing_entry
        WHERE kind IN ('tax', 'void', 'credit_note') GROUP BY 1, 2, 3, 4
    )
    SELECT coalesce(m.source_id, d.source_id) AS source_id, coalesce(m.kind, d.kind) AS kind,
        coalesce(m.debit, d.debit) AS debit, coalesce(m.amount, 0) AS expected, coalesce(d.amount, 0) AS found
    FROM must m FULL JOIN does d USING (source_id, kind, debit, credit)
    WHERE coalesce(m.amount, 0) <> coalesce(d.amount, 0) ORDER BY 1, 2, 3 LIMIT 100
"""
_SETTLED: LiteralString = """
    SELECT i.id, i.kind, i.label, i.settled_nano AS found, coalesce((
        SELECT sum(p.amount_nano) FROM billing_invoicepayment p
        WHERE CASE i.kind WHEN 'invoice' THEN p.invoice_id ELSE p.credit_note_id END = i.id
    ), 0)::bigint AS expected, i.total_nano
    FROM billing_invoice i WHERE i.state <> 'draft'
"""
# No more of a payment pays invoices than came in and stayed.
_SPENT: LiteralString = """
    SELECT p.id, p.external_id, u.nano AS found, greatest(0, p.amount_nano - coalesce((
        SELECT sum(r.amount_nano) FROM billing_paymentreturn r WHERE r.payment_id = p.id
    ), 0))::bigint AS most
    FROM (
        SELECT payment_id, sum(amount_nano)::bigint AS nano FROM billing_invoicepayment
        WHERE payment_id IS NOT NULL GROUP BY payment_id
    ) u JOIN billing_payment p ON p.id = u.payment_id
    ORDER BY 1
"""
_CHARGES: LiteralString = """
    SELECT l.charge_id, count(*) AS found FROM billing_invoiceline l JOIN billing_invoice i ON i.id = l.invoice_id
    WHERE l.charge_id IS NOT NULL AND NOT i.replaced AND i.state <> 'draft' GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 20
"""
_FEES: LiteralString = """
    SELECT l.invoice_id, l.position, l.amount_nano AS found,
        CASE c.kind WHEN 'proration_credit' THEN -c.amount_nano ELSE c.amount_nano END AS expected
    FROM billing_invoiceline l JOIN billing_invoice i ON i.id = l.invoice_id
    LEFT JOIN billing_plancharge c ON c.id = l.charge_id
    WHERE l.kind = 'plan' AND i.state <> 'draft'
      AND l.amount_nano IS DISTINCT FROM CASE c.kind WHEN 'proration_credit' THEN -c.amount_nano ELSE c.amount_nano END
    ORDER BY 1, 2 LIMIT 20
"""
Row = Mapping[str, Any]


def check_documents(snapshot: Snapshot, findings: Findings) -> None:
    """Numbers have no gaps; each invoice begins where the one before ended, takes the credit that was drawn since and what
    that left, and adds up; its tax is its rate's."""
    rows = snapshot.execute(_INVOICES).fetchall()
    counts = {"invoice": 0, "credit_note": 0}
    for row in rows:
        findings.look("invoices")
        counts[row["kind"]] += 1
        _expect(findings, "numbers", row, "number", counts[row["kind"]])
    for row in rows:
        _check_amounts(snapshot, findings, row)
    chain = sorted(
        (row for row in rows if row["kind"] == "invoice" and not row["replaced"]), key=lambda row: row["until"]
    )
    for before, row in pairwise(chain):
        for column, expected in (("since", before["until"]), ("since_tx", before["until_tx"])):
            _expect(findings, "invoices", row, column, expected)
    _check_carried(snapshot, findings, chain)
    if chain:
        _expect(findings, "invoices", chain[0], "since_tx", 0)


def check_invoices(snapshot: Snapshot, findings: Findings) -> None:
    """Each line of usage is the sum of its records, and no record of an invoice's range is missing; fees are on one invoice
    each; the books have the entries of each document; what is paid was paid."""
    # A period's usage is added up in one statement, which may take longer than those that people wait for.
    snapshot.execute("SELECT set_config('statement_timeout', %s, true)", [f"{GATHERING_MAX_S}s"])
    for row in snapshot.execute(_INVOICES).fetchall():
        if row["kind"] != "invoice":
            continue
        bounds = {name: row[name] for name in ("id", "since", "until", "since_tx", "until_tx", "time_zone")}
        findings.look("invoice lines", row["lines"])
        for line in snapshot.execute(sql.SQL(_LINES), bounds):
            column = next((name for name in SUMS if line[f"{name}_expected"] != line[f"{name}_found"]), "position")
            key = {"invoice": row["label"], **{name: line[name] for name in GROUP}, "column": column}
            expected, found = line.get(f"{column}_expected", "one line"), line.get(f"{column}_found", "several")
            findings.differs("invoice lines", "billing_invoiceline", key, expected=expected, found=found)
    for row in snapshot.execute(_ENTRIES):
        key = {name: row[name] for name in ("source_id", "kind", "debit")}
        findings.differs("invoice entries", "billing_entry", key, expected=row["expected"], found=row["found"])
    for row in snapshot.execute(_CHARGES):
        key = {"charge_id": row["charge_id"], "column": "charge_id"}
        findings.differs("invoice fees", "billing_invoiceline", key, expected="on one invoice", found=row["found"])
    for row in snapshot.execute(_FEES):
        key = {"invoice_id": row["invoice_id"], "position": row["position"], "column": "amount_nano"}
        findings.differs("invoice fees", "billing_invoiceline", key, expected=row["expected"], found=row["found"])
    for row in snapshot.execute(_SETTLED):
        if row["expected"] != row["found"] or not 0 <= row["found"] <= row["total_nano"]:
            _expect(
                findings, "invoice payments", {**row, "settled_nano": row["found"]}, "settled_nano", row["expected"]
            )
    for row in snapshot.execute(_SPENT):
        if row["found"] > row["most"]:
            key = {"id": row["id"], "payment": row["external_id"], "column": "amount_nano"}
            findings.differs(
                "invoice payments", "billing_payment", key, expected=f"at most {row['most']}", found=row["found"]
            )


def _check_amounts(snapshot: Snapshot, findings: Findings, row: Row) -> None:
    sums = {one["kind"]: one for one in snapshot.execute(_SUMMED_LINES, {"id": row["id"]})}
    nano = {kind: one["nano"] for kind, one in sums.items()}
    net = sum(nano.values()) * (-1 if row["kind"] == "credit_note" else 1)
    expected = {"net_nano": net, "lines": sum(one["lines"] for one in sums.values())}
    if row["kind"] == "invoice":
        expected |= {"tax_nano": tax_of(row["net_nano"], row["tax_bps"]), "carry_nano": -nano.get("carried_out", 0)}
    for column, value in expected.items():
        _expect(findings, "invoices", row, column, value)
    if row["net_nano"] % CENT:
        _expect(findings, "invoices", row, "net_nano", "whole cents")


def _check_carried(snapshot: Snapshot, findings: Findings, chain: Sequence[Row]) -> None:
    """What one invoice carries over the next takes in, and credit is taken off once."""
    carried = credited = 0
    for row in chain:
        nano = {one["kind"]: one["nano"] for one in snapshot.execute(_SUMMED_LINES, {"id": row["id"]})}
        _expect(findings, "invoices", {**row, "carried in": nano.get("carried_in", 0)}, "carried in", carried)
        credited -= nano.get("credit", 0)
        _expect(findings, "invoices", row, "credited_nano", credited)
        carried = row["carry_nano"]


def _expect(findings: Findings, check: str, row: Row, column: str, expected: Any) -> None:
    if row[column] != expected:
        key = {"id": row["id"], "invoice": row["label"], "column": column}
        findings.differs(check, "billing_invoice", key, expected=expected, found=row[column])
