"""The books as the database has them, read by its administrator: sums to compare with one another."""

import uuid
from dataclasses import dataclass
from typing import Any, LiteralString

from tests.isolation.roles import Connection

_ACCOUNTS: LiteralString = """
    WITH summed AS (
        SELECT k.kind, sum(k.debit) AS debits, sum(k.credit) AS credits
        FROM billing_entry e CROSS JOIN LATERAL (VALUES (e.debit, e.amount_nano, 0), (e.credit, 0, e.amount_nano))
            AS k (kind, debit, credit)
        WHERE e.tenant_id = %(t)s GROUP BY k.kind
    )
    SELECT count(*) FILTER (WHERE a.debits_nano <> coalesce(s.debits, 0) OR a.credits_nano <> coalesce(s.credits, 0)),
           coalesce(sum(a.debits_nano - a.credits_nano), 0),
           coalesce(sum(a.debits_nano - a.credits_nano) FILTER (WHERE a.kind = 'customer'), 0)
    FROM billing_account a LEFT JOIN summed s ON s.kind = a.kind WHERE a.tenant_id = %(t)s
"""
_USAGE: LiteralString = """
    SELECT coalesce(sum(sell_nano), 0), coalesce(sum(loss_nano), 0), coalesce(sum(cost_nano), 0)
    FROM billing_usagerecord WHERE tenant_id = %(t)s
"""
_ENTRIES: LiteralString = """
    SELECT coalesce(sum(amount_nano) FILTER (WHERE kind = 'usage'), 0),
           coalesce(sum(amount_nano) FILTER (WHERE kind = 'loss'), 0),
           coalesce(sum(amount_nano) FILTER (WHERE kind = 'cost'), 0)
    FROM billing_entry WHERE tenant_id = %(t)s
"""
_BUDGETS: LiteralString = """
    SELECT b.id, b.scope, b.mode, b.measure, b.limit_amount, coalesce(s.held, 0), coalesce(s.settled, 0), coalesce((
        SELECT sum(CASE WHEN b.measure = 'nano' THEN h.amount_nano ELSE h.tokens END)
        FROM billing_hold h WHERE h.tenant_id = b.tenant_id AND b.id = ANY (h.budgets)
    ), 0)
    FROM billing_budget b LEFT JOIN billing_budgetbalance s ON s.tenant_id = b.tenant_id AND s.budget_id = b.id
    WHERE b.tenant_id = %(t)s
"""
# What plans, credit, payments and invoices say that they moved, by their own tables: what the customer owes for it.
_MONEY: LiteralString = """
    SELECT
        (SELECT coalesce(sum(CASE kind WHEN 'proration_credit' THEN -amount_nano ELSE amount_nano END), 0)
         FROM billing_plancharge WHERE tenant_id = %(t)s)
        - (SELECT coalesce(sum(amount_nano), 0) FROM billing_creditgrant g WHERE tenant_id = %(t)s AND NOT EXISTS (
            SELECT FROM billing_payment p WHERE p.tenant_id = g.tenant_id AND p.grant_id = g.id))
        + (SELECT coalesce(sum(expired_nano), 0) FROM billing_creditgrant WHERE tenant_id = %(t)s)
        - (SELECT coalesce(sum(amount_nano), 0) FROM billing_payment WHERE tenant_id = %(t)s)
        + (SELECT coalesce(sum(amount_nano), 0) FROM billing_paymentreturn WHERE tenant_id = %(t)s)
        + (SELECT coalesce(sum(CASE
               WHEN kind = 'credit_note' THEN -total_nano
               WHEN state = 'void' THEN CASE WHEN replaced THEN 0 ELSE -net_nano END
               ELSE tax_nano
           END), 0) FROM billing_invoice WHERE tenant_id = %(t)s AND state <> 'draft')
"""
# Two ways to the same sums: the rollups, and the records that they have taken in. Then all records, with what they have not.
_ROLLED_UP: LiteralString = """
    WITH mark AS (
        SELECT coalesce((SELECT below_tx FROM billing_rollupmark WHERE tenant_id = %(t)s AND name = 'usage'), 0) AS below
    ), counted AS (
        SELECT tx < below::text::xid8 AS is_in, count(*) AS attempts, sum(sell_nano) AS sell, sum(loss_nano) AS loss,
            sum(cost_nano) AS cost, sum(input + output) AS tokens
        FROM billing_usagerecord, mark WHERE tenant_id = %(t)s GROUP BY 1
    )
    SELECT (SELECT row(coalesce(sum(attempts), 0), coalesce(sum(sell_nano), 0), coalesce(sum(loss_nano), 0),
                       coalesce(sum(cost_nano), 0), coalesce(sum(input + output), 0))::text
            FROM billing_usagerollup WHERE tenant_id = %(t)s),
           (SELECT row(coalesce(sum(attempts), 0), coalesce(sum(sell), 0), coalesce(sum(loss), 0), coalesce(sum(cost), 0),
                       coalesce(sum(tokens), 0))::text FROM counted WHERE is_in),
           (SELECT coalesce(sum(sell_nano), 0) FROM billing_usagerollup WHERE tenant_id = %(t)s)
            + (SELECT coalesce(sum(sell), 0) FROM counted WHERE NOT is_in),
           (SELECT coalesce(sum(attempts), 0) FROM counted WHERE NOT is_in)
"""
# Final invoices that no other has replaced: what they list, and what they must. Usage as far as the last one's mark; the fees
# that are on them; the credit that they took off; what is left of all that, whole cents, and what they carry on.
_INVOICED: LiteralString = """
    WITH chain AS (
        SELECT * FROM billing_invoice
        WHERE tenant_id = %(t)s AND kind = 'invoice' AND NOT replaced AND state <> 'draft'
    ), listed AS (
        SELECT l.kind, sum(l.amount_nano) AS nano FROM billing_invoiceline l JOIN chain i ON i.id = l.invoice_id
        WHERE l.tenant_id = %(t)s GROUP BY l.kind
    ), last AS (
        SELECT until, coalesce(until_tx, 0) AS mark, credited_nano, carry_nano FROM chain ORDER BY until DESC LIMIT 1
    ), used AS (
        SELECT coalesce(sum(u.sell_nano), 0) AS nano FROM billing_usagerecord u, last
        WHERE u.tenant_id = %(t)s AND u.tx < last.mark::text::xid8 AND u.at < last.until
    ), fees AS (
        SELECT coalesce(sum(CASE c.kind WHEN 'proration_credit' THEN -c.amount_nano ELSE c.amount_nano END), 0) AS nano
        FROM billing_plancharge c WHERE c.tenant_id = %(t)s AND EXISTS (
            SELECT FROM billing_invoiceline l JOIN chain i ON i.id = l.invoice_id
            WHERE l.tenant_id = %(t)s AND l.charge_id = c.id)
    )
    SELECT
        ARRAY[
            (SELECT coalesce(sum(nano), 0) FROM listed WHERE kind IN ('usage', 'adjustment')),
            (SELECT coalesce(sum(nano), 0) FROM listed WHERE kind = 'plan'),
            (SELECT coalesce(sum(nano), 0) FROM listed WHERE kind = 'credit'),
            (SELECT coalesce(sum(nano), 0) FROM listed)
        ],
        ARRAY[
            (SELECT nano FROM used), (SELECT nano FROM fees), coalesce((SELECT -credited_nano FROM last), 0),
            (SELECT coalesce(sum(net_nano), 0) FROM chain)
        ],
        (SELECT coalesce(sum(net_nano), 0) FROM chain) + coalesce((SELECT carry_nano FROM last), 0)
            - (SELECT nano FROM used) - (SELECT nano FROM fees) + coalesce((SELECT credited_nano FROM last), 0)
"""
_CHARGED: LiteralString = """
    SELECT coalesce(sum(sell_nano), 0) FROM billing_usagerecord WHERE tenant_id = %(t)s AND request_id = %(r)s
"""
_REVERSED: LiteralString = "SELECT count(*) FROM billing_entry WHERE tenant_id = %(t)s AND reverses = %(r)s"
_BUDGETS_OF: LiteralString = "SELECT budgets FROM billing_hold WHERE tenant_id = %(t)s AND request_id = %(r)s"
_HOLDS: LiteralString = "SELECT count(*) FROM billing_hold WHERE tenant_id = %(t)s"


@dataclass
class Standing:
    """A budget, as the database has it. `in_holds` is what the holds that name it add up to."""

    id: uuid.UUID
    scope: str
    mode: str
    measure: str
    limit: int
    held: int
    settled: int
    in_holds: int

    @property
    def used(self) -> int:
        return self.held + self.settled


class Books:
    """A tenant's. Amounts are nano-USD."""

    def __init__(self, admin: Connection, tenant_id: uuid.UUID) -> None:
        self._admin, self._tenant_id = admin, tenant_id

    def accounts(self) -> tuple[int, int, int]:
        """How many accounts aren't what their entries say, all debits less all credits, and what the customer owes."""
        wrong, difference, owed = self._one(_ACCOUNTS)
        return int(wrong), int(difference), int(owed)

    def usage(self) -> tuple[int, ...]:
        """Sold, lost and paid, by the usage records."""
        return tuple(map(int, self._one(_USAGE)))

    def entries(self) -> tuple[int, ...]:
        """The same, by the entries."""
        return tuple(map(int, self._one(_ENTRIES)))

    def money(self) -> int:
        """What the customer owes by plans, credit and payments."""
        return int(self._one(_MONEY)[0])

    def rolled_up(self) -> tuple[str, str, int, int]:
        """What the rollups add up to and what their records do, both in the same form; what rollups and the records beyond
        them were sold at, and how many those are."""
        rollups, records, sold, beyond = self._one(_ROLLED_UP)
        return rollups, records, int(sold), int(beyond)

    def invoiced(self) -> tuple[list[int], list[int]]:
        """What final invoices list of usage, fees, credit, and in all; and what they must. The last pair is nothing, and what
        was asked and carried on beyond what was used and charged."""
        listed, expected, beyond = self._one(_INVOICED)
        return [*map(int, listed), 0], [*map(int, expected), int(beyond)]

    def standing(self) -> list[Standing]:
        """All budgets."""
        rows: Any = self._admin.execute(_BUDGETS, {"t": self._tenant_id}).fetchall()
        return [Standing(*row[:4], *map(int, row[4:])) for row in rows]

    def charged(self, request_id: uuid.UUID) -> int:
        """What a request was charged."""
        return int(self._one(_CHARGED, request_id)[0])

    def is_reversed(self, request_id: uuid.UUID) -> bool:
        """Whether an entry reverses a request's."""
        return bool(self._one(_REVERSED, request_id)[0])

    def holds(self) -> int:
        """How many holds stand."""
        return int(self._one(_HOLDS)[0])

    def budgets_of(self, hold: uuid.UUID) -> list[uuid.UUID]:
        """What a hold is held against."""
        return list(self._one(_BUDGETS_OF, hold)[0])

    def _one(self, query: LiteralString, request_id: uuid.UUID | None = None) -> tuple[Any, ...]:
        row = self._admin.execute(query, {"t": self._tenant_id, "r": request_id}).fetchone()
        assert row is not None
        return tuple(row)
