"""Each usage record computed again: its tokens by its prices.

Records come through a server-side cursor, in the order of their requests; prices are kept in a bounded table. On the way the
records are added up for the budgets that they may count for: what a budget has settled can't be more."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any, LiteralString
from zoneinfo import ZoneInfo

from billing.periods import zone_of
from billing.pricing import amount, marked_up
from billing.types import FINER, METERS
from billing.verification.values import Books, Findings, Window
from kernel.ids import unix_ms
from kernel.snapshots import Snapshot

ROWS_AT_ONCE = 2_000
PRICES_KEPT = 20_000
ADMITTED_WITHIN = timedelta(hours=1)
"""A request's hold, whose moment decides its periods, comes at most so long after its id was made."""

_RECORDS: LiteralString = """
    SELECT request_id, attempt, kind, at, platform_paid, input, cache_read, cache_write, output, reasoning, cost_nano,
        sell_nano, loss_nano, charge_lines, membership_id, api_key_id, subject_kind, subject_id, alias
    FROM billing_usagerecord WHERE request_id BETWEEN %s AND %s ORDER BY request_id, attempt, kind
"""
_PRICE: LiteralString = """
    SELECT meter, tier, effective_from, cost_nano_per_mtok, sell_nano_per_mtok, true AS platform
    FROM billing_price WHERE id = %(id)s
    UNION ALL
    SELECT meter, tier, effective_from, cost_nano_per_mtok, sell_nano_per_mtok, false
    FROM billing_tenantprice WHERE id = %(id)s
"""
_BALANCES: LiteralString = """
    SELECT b.scope, b.measure, b.period, s.budget_id, s.period_start, s.settled
    FROM billing_budgetbalance s JOIN billing_budget b ON b.id = s.budget_id AND b.measure = s.measure
    WHERE s.settled > 0 ORDER BY s.budget_id, s.period_start
"""
_ZONES: LiteralString = """
    SELECT DISTINCT data ->> 'was' AS zone FROM tenants_auditevent WHERE action = 'tenant.time_zone'
"""
_BOUND_KEYS: LiteralString = "SELECT id, bound_by FROM tenants_apikey WHERE bound_by <> '{}'"
_ALWAYS = date(1970, 1, 1)


class Repricing:
    """The records of one tenant, window by window; and, at the end, what its budgets have settled."""

    def __init__(self, books: Books, findings: Findings) -> None:
        self._books = books
        self._findings = findings
        self._prices: dict[str, Mapping[str, Any] | None] = {}
        self._balances: Sequence[Mapping[str, Any]] = ()
        self._most: dict[tuple[str, str, date], list[int]] = {}
        self._bound: dict[uuid.UUID, Sequence[uuid.UUID]] = {}
        self._zones = {books.zone}
        """All that the tenant ever had: in which of them a period began isn't known any more."""

    def begin(self, snapshot: Snapshot) -> None:
        """Read the balances, before the records: those only grow."""
        self._balances = snapshot.execute(_BALANCES).fetchall()
        self._most = {_place_of(row): [0, 0] for row in self._balances}
        self._bound = {row["id"]: row["bound_by"] for row in snapshot.execute(_BOUND_KEYS)}
        self._zones |= {zone_of(row["zone"]) for row in snapshot.execute(_ZONES)}

    def look_at(self, snapshot: Snapshot, window: Window) -> None:
        """Compute a window's records again."""
        with snapshot.cursor(name="records") as cursor:
            cursor.itersize = ROWS_AT_ONCE
            for row in cursor.execute(_RECORDS, (window.first_id, window.last_id)):
                self._findings.look("prices")
                self._check(snapshot, row)
                if self._most:
                    self._count_for_budgets(row)

    def end(self) -> None:
        """Compare what budgets have settled with what their scopes used. Not where the records were begun in the middle."""
        if self._books.since is not None:
            return
        for row in self._balances:
            most = self._most[_place_of(row)][row["measure"] == "tokens"]
            self._findings.look("settled")
            if row["settled"] > most:
                key = {"budget_id": row["budget_id"], "period_start": row["period_start"], "column": "settled"}
                self._findings.differs(
                    "settled", "billing_budgetbalance", key, expected=f"at most {most}", found=row["settled"]
                )

    def _check(self, snapshot: Snapshot, row: Mapping[str, Any]) -> None:
        cost = sell = 0
        counts = dict.fromkeys(METERS, 0)
        for place, line in enumerate(row["charge_lines"]):
            price = self._price(snapshot, str(line.get("price")))
            problem = _mismatch(line, price, row)
            if problem is not None or price is None:
                column, expected, found = problem or ("price", "a price of the book", None)
                self._differs(row, f"charge_lines[{place}].{column}", expected, found)
                return
            line_cost, line_sell = _amounts(line, price)
            for column, expected in (("cost_nano", line_cost), ("sell_nano", line_sell)):
                if line.get(column) != expected:
                    self._differs(row, f"charge_lines[{place}].{column}", expected, line.get(column))
                    return
            cost += line_cost
            sell += line_sell
            counts[FINER.get(line["meter"], line["meter"])] += line["tokens"]
        if cost != row["cost_nano"]:
            self._differs(row, "cost_nano", cost, row["cost_nano"])
        if sell != row["sell_nano"] + row["loss_nano"]:
            self._differs(row, "sell_nano + loss_nano", sell, row["sell_nano"] + row["loss_nano"])
        if row["charge_lines"]:
            for meter, count in counts.items():
                if count != row[meter]:
                    self._differs(row, meter, count, row[meter])

    def _price(self, snapshot: Snapshot, price_id: str) -> Mapping[str, Any] | None:
        if price_id not in self._prices:
            if len(self._prices) >= PRICES_KEPT:
                self._prices.pop(next(iter(self._prices)))
            try:
                known = snapshot.execute(_PRICE, {"id": uuid.UUID(price_id)}).fetchone()
            except ValueError:
                known = None
            self._prices[price_id] = known
        return self._prices[price_id]

    def _differs(self, row: Mapping[str, Any], column: str, expected: Any, found: Any) -> None:
        key = {name: row[name] for name in ("request_id", "attempt", "kind")} | {"column": column}
        self._findings.differs("prices", "billing_usagerecord", key, expected=expected, found=found)

    def _count_for_budgets(self, row: Mapping[str, Any]) -> None:
        tokens = sum(row[meter] for meter in METERS)
        scopes = [
            "tenant",
            f"member:{row['membership_id']}",
            f"model:{row['alias']}",
            *(f"key:{key}" for key in (row["api_key_id"], *self._bound.get(row["api_key_id"], ()))),
            f"{row['subject_kind']}:{row['subject_id']}",
        ]
        for period, start in _periods(row["request_id"], self._zones):
            for scope in scopes:
                if (most := self._most.get((scope, period, start))) is not None:
                    most[0] += row["sell_nano"]
                    most[1] += tokens


def _place_of(balance: Mapping[str, Any]) -> tuple[str, str, date]:
    """The scope and the period whose usage is the most that a budget may have settled. Who was in a group when isn't known
    any more."""
    scope: str = balance["scope"]
    bound = "tenant" if scope == "funds" or scope.startswith("group:") else scope
    return bound, balance["period"], balance["period_start"]


def _periods(request_id: uuid.UUID, zones: Collection[ZoneInfo]) -> set[tuple[str, date]]:
    """The periods that a request may have been admitted in."""
    starts = {("total", _ALWAYS)}
    try:
        asked = datetime.fromtimestamp(unix_ms(request_id) / 1000, tz=UTC)
        for moment, zone in product((asked, asked + ADMITTED_WITHIN), zones):
            day = moment.astimezone(zone).date()
            starts |= {("day", day), ("month", day.replace(day=1))}
    except (ValueError, OverflowError):
        return starts
    return starts


def _mismatch(
    line: Mapping[str, Any], price: Mapping[str, Any] | None, row: Mapping[str, Any]
) -> tuple[str, Any, Any] | None:
    """What of a line contradicts its price: the field, what it should be, what it is."""
    if price is None:
        return "price", "a price of the book", line.get("price")
    for field in ("meter", "tier"):
        if line.get(field) != price[field]:
            return field, price[field], line.get(field)
    if not isinstance(line.get("tokens"), int) or line["tokens"] < 0:
        return "tokens", "a count", line.get("tokens")
    if price["effective_from"] > row["at"]:
        return "price", f"a price in force at {row['at']}", f"from {price['effective_from']}"
    if price["platform"] != row["platform_paid"]:
        return "price", "a price of whoever paid the provider", line["price"]
    return None


def _amounts(line: Mapping[str, Any], price: Mapping[str, Any]) -> tuple[int, int]:
    """What a line's tokens cost and are sold at."""
    cost_rate, markup_bps = price["cost_nano_per_mtok"], line.get("markup_bps")
    sell_rate = price["sell_nano_per_mtok"] if markup_bps is None else marked_up(cost_rate, markup_bps)
    return amount(line["tokens"], cost_rate), amount(line["tokens"], sell_rate)
