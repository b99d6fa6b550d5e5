"""What `bench.billing_race` compares: the processes' journals, and the books."""

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

TRIGGER = """
CREATE TABLE public.race_overspend (over bigint NOT NULL);
CREATE SEQUENCE public.race_looks;
CREATE FUNCTION public.race_look() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM nextval('public.race_looks');
    INSERT INTO public.race_overspend
    SELECT s.held + s.settled - b.limit_amount
    FROM public.billing_budgetbalance s JOIN public.billing_budget b ON b.tenant_id = s.tenant_id AND b.id = s.budget_id
    WHERE s.tenant_id = NEW.tenant_id AND s.budget_id = NEW.budget_id AND s.period_start = NEW.period_start
      AND b.mode = 'hard' AND s.held + s.settled > b.limit_amount;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER race_look AFTER INSERT OR UPDATE ON public.billing_budgetbalance
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.race_look();
"""
"""Looks at a balance when the transaction that changed it commits."""
UNTRIGGER = """
DROP TRIGGER race_look ON public.billing_budgetbalance;
DROP FUNCTION public.race_look();
DROP SEQUENCE public.race_looks;
DROP TABLE public.race_overspend;
"""


class Journal:
    """A process's, read as it grows. A line cut short by the process's end counts for nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked = 0
        self.granted: dict[str, bool] = {}
        self.refused: dict[str, int] = {}
        self.drawn = 0
        self.ids: set[str] = set()
        self.settled: dict[str, int] = {}
        self.giving_back: set[str] = set()
        self.given_back: set[str] = set()
        self._at = 0

    def read(self) -> "Journal":
        """Take what was written since the last time."""
        if not self.path.exists():
            return self
        with self.path.open("rb") as opened:
            opened.seek(self._at)
            whole, _, _ = opened.read().rpartition(b"\n")
        self._at += len(whole) + 1 if whole else 0
        for line in whole.decode().splitlines():
            letter, request, amount = line.split()
            self._take(letter, request, int(amount))
        return self

    def _take(self, letter: str, request: str, amount: int) -> None:
        if letter == "A":
            self.asked += 1
            self.ids.add(request)
        elif letter in "GgDd":
            self.granted[request] = letter in "GD"
            self.drawn += letter in "Dd"
        elif letter == "R":
            self.refused[request] = amount
        elif letter == "S":
            self.settled[request] = amount
        elif letter == "v":
            self.giving_back.add(request)
        else:
            self.given_back.add(request)


@dataclass
class Verdict:
    """What the comparison found: counts of requests, amounts in nano-USD."""

    asked: int = 0
    granted: int = 0
    refused: int = 0
    drawn: int = 0
    smallest_refused: int = 0
    left: int = 0
    over: int = 0
    commits: int = 0
    holds: int = 0
    twice: int = 0
    lost: int = 0
    wrong: int = 0
    unknown: int = 0
    books: str = ""


def compare(admin: "psycopg.Connection[Any]", tenant: uuid.UUID, journals: list[Journal]) -> Verdict:
    """Hold the books against the journals."""
    verdict = Verdict()
    billed: dict[str, tuple[int, int]] = {
        row[0].hex: (row[1], int(row[2]))
        for row in admin.execute(
            "SELECT request_id, count(*), sum(sell_nano + loss_nano) FROM billing_usagerecord WHERE tenant_id = %s"
            " GROUP BY request_id",
            [tenant],
        )
    }
    known: set[str] = set()
    for journal in journals:
        journal.read()
        known |= journal.ids
        verdict.asked += journal.asked
        verdict.granted += len(journal.granted)
        verdict.refused += len(journal.refused)
        verdict.drawn += journal.drawn
        verdict.wrong += sum(billed.get(request, (0, -1))[1] != amount for request, amount in journal.settled.items())
        verdict.wrong += sum(request in billed for request in (*journal.given_back, *journal.refused))
        # What was sent is billed, by whoever settled it; what was not yet, or was about to be given back, need not be.
        verdict.lost += sum(
            was_sent and request not in billed and request not in journal.giving_back
            for request, was_sent in journal.granted.items()
        )
    verdict.smallest_refused = min((least for one in journals for least in one.refused.values()), default=0)
    verdict.twice = sum(count > 1 for count, _ in billed.values())
    verdict.unknown = len(billed.keys() - known)
    row = admin.execute(
        "SELECT coalesce((SELECT max(over) FROM race_overspend), 0), (SELECT last_value FROM race_looks),"
        " (SELECT count(*) FROM billing_hold WHERE tenant_id = %(tenant)s), (SELECT b.limit_amount - s.held - s.settled FROM"
        " billing_budgetbalance s JOIN billing_budget b ON b.id = s.budget_id WHERE b.tenant_id = %(tenant)s AND"
        " b.scope = 'tenant')",
        {"tenant": tenant},
    ).fetchone()
    assert row is not None
    verdict.over, verdict.commits, verdict.holds, verdict.left = row
    verdict.books = _books(admin, tenant)
    return verdict


_SUMS = """
SELECT (SELECT sum(debits_nano) FROM billing_account WHERE tenant_id = %(t)s),
       (SELECT sum(credits_nano) FROM billing_account WHERE tenant_id = %(t)s),
       (SELECT sum(amount_nano) FROM billing_entry WHERE tenant_id = %(t)s),
       (SELECT debits_nano - credits_nano FROM billing_account WHERE tenant_id = %(t)s AND kind = 'customer'),
       (SELECT sum(sell_nano) FROM billing_usagerecord WHERE tenant_id = %(t)s),
       (SELECT sum(amount_nano) FROM billing_entry WHERE tenant_id = %(t)s AND kind = 'usage'),
       (SELECT s.settled FROM billing_budgetbalance s JOIN billing_budget b ON b.id = s.budget_id
        WHERE b.tenant_id = %(t)s AND b.scope = 'tenant'),
       (SELECT sum(s.settled) FROM billing_budgetbalance s JOIN billing_budget b ON b.id = s.budget_id
        WHERE b.tenant_id = %(t)s AND b.scope LIKE 'member:%%'),
       (SELECT sum(s.settled) FROM billing_budgetbalance s JOIN billing_budget b ON b.id = s.budget_id
        WHERE b.tenant_id = %(t)s AND b.scope LIKE 'key:%%'),
       (SELECT sum(held) FROM billing_budgetbalance WHERE tenant_id = %(t)s)
"""


def _books(admin: "psycopg.Connection[Any]", tenant: uuid.UUID) -> str:
    """`balance`, or what doesn't."""
    row = admin.execute(_SUMS, {"t": tenant}).fetchone()
    assert row is not None
    debits, credits_, entries, owed, sold, usage, by_tenant, by_members, by_keys, held = (
        int(each or 0) for each in row
    )
    if not debits == credits_ == entries:
        return f"debits {debits}, credits {credits_}, entries {entries}"
    if not owed == sold == usage == by_tenant == by_members == by_keys:
        return f"owed {owed}, sold {sold}, entries {usage}, budgets {by_tenant}, {by_members}, {by_keys}"
    return "balance" if held == 0 else f"still held {held}"
