"""An invoice as CSV and as JSON, in pieces: each page of lines is read in a transaction of its own, written and forgotten. What
is final doesn't change in between."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from billing.invoices.documents.rows import PAGE, ROWS_AT_ONCE, Row, page_of, usd
from billing.models import Invoice
from kernel import adb
from kernel.spreadsheets import Cell, Number, csv_text
from kernel.tenancy import Scope

HEAD = (
    *(
        "invoice",
        "line",
        "kind",
        "day",
        "period_start",
        "period_end",
        "description",
        "model",
        "upstream_model",
        "provider",
    ),
    *("connection", "member", "member_id", "api_key", "api_key_id", "requests", "input_tokens", "cache_read_tokens"),
    *("cache_write_tokens", "output_tokens", "reasoning_tokens", "prices", "amount_usd", "amount_nano"),
)


async def as_csv(invoice: Invoice, *, scope: Scope) -> AsyncIterator[bytes]:
    """All lines, as UTF-8. Their sum is the net amount: tax is on none of them."""
    yield csv_text([HEAD]).encode()
    async for rows in _pages(invoice, scope):
        yield csv_text(_cells(invoice, row) for row in rows).encode()


async def as_json(invoice: Invoice, head: dict[str, Any], *, scope: Scope) -> AsyncIterator[bytes]:
    """`{"invoice": head, "lines": [...]}`."""
    yield b'{"invoice":' + msgspec.json.encode(head) + b',"lines":['
    is_first = True
    async for rows in _pages(invoice, scope):
        text = b",\n".join(msgspec.json.encode(line_body(row)) for row in rows)
        yield text if is_first else b",\n" + text
        is_first = False
    yield b"]}\n"


def line_body(row: Row) -> dict[str, Any]:
    """A line, as JSON has it."""
    return {
        "id": row["id"],
        "line": row["position"],
        "kind": row["kind"],
        "description": row["description"],
        "day": row["day"],
        "period_start": row["period_since"],
        "period_end": row["period_until"],
        "model": row["alias"],
        "upstream_model": row["model"],
        "provider": row["provider"],
        "connection": row["connection"],
        "member": {"id": row["membership_id"], "name": row["member"]} if row["membership_id"] else None,
        "api_key": {"id": row["api_key_id"], "name": row["api_key"]} if row["api_key_id"] else None,
        "requests": row["attempts"],
        "tokens": {name: row[name] for name in ("input", "cache_read", "cache_write", "output", "reasoning")},
        "prices": row["prices"],
        "amount_nano": row["amount_nano"],
    }


def _cells(invoice: Invoice, row: Row) -> list[Cell]:
    return [
        *(
            invoice.label,
            row["position"],
            row["kind"],
            *(_text(row[one]) for one in ("day", "period_since", "period_until")),
        ),
        *(row["description"], row["alias"], row["model"], row["provider"], row["connection"]),
        *(_text(row[one]) for one in ("member", "membership_id", "api_key", "api_key_id")),
        *(row[one] for one in ("attempts", "input", "cache_read", "cache_write", "output", "reasoning")),
        " ".join(str(one) for one in row["prices"]),
        Number(usd(row["amount_nano"])),
        row["amount_nano"],
    ]


async def _pages(invoice: Invoice, scope: Scope) -> AsyncIterator[list[dict[str, Any]]]:
    after = 0
    while True:
        async with adb.transaction(scope.tenant_id, person_id=scope.person_id) as connection:
            rows = await (await connection.execute(PAGE, page_of(invoice.id, after))).fetchall()
        if rows:
            yield rows
        if len(rows) < ROWS_AT_ONCE:
            return
        after = rows[-1]["position"]


def _text(value: Any) -> str:
    return "" if value is None else str(value)
