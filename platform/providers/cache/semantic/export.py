"""A tenant's entries as a file, written while it is read: JSON, one object a line, or CSV.

What was asked and answered is in it where the tenant shares answers among its members; what one member asked for themselves
is not for others to read."""

import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import msgspec

from kernel import adb
from kernel.spreadsheets import csv_text
from providers.cache.semantic.entries import open_body, question_of_cell

Form = Literal["json", "csv"]
PAGE = 200
COLUMNS = (
    "id",
    "model",
    "question",
    "answer",
    "cluster",
    "confirmed",
    "hits",
    "wrong",
    "input_tokens",
    "output_tokens",
    "cost_nano",
    "embedder",
    "calibration",
    "created_at",
    "expires_at",
)
_SQL = """
    SELECT e.id, e.alias AS model, e.question, e.body, e.shared, e.size, e.cluster, e.confirmed, coalesce(u.hits, 0) AS hits,
           e.wrong, e.input_tokens, e.output_tokens, e.cost_nano, e.embedder, e.calibration, e.created_at, e.expires_at
    FROM providers_semanticentry e LEFT JOIN providers_semanticuse u ON u.entry_id = e.id
    WHERE e.id > %s AND e.expires_at > now() ORDER BY e.id LIMIT %s
"""


async def export(tenant_id: uuid.UUID, form: Form) -> AsyncIterator[bytes]:
    """The file, a page of entries at a time."""
    if form == "csv":
        yield csv_text([COLUMNS]).encode()
    after = uuid.UUID(int=0)
    while True:
        async with adb.transaction(tenant_id) as connection:
            rows = await (await connection.execute(_SQL, (after, PAGE))).fetchall()
        if not rows:
            return
        entries = [_entry(tenant_id, row) for row in rows]
        if form == "csv":
            yield csv_text([[entry[name] for name in COLUMNS] for entry in entries]).encode()
        else:
            yield b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
        after = rows[-1]["id"]


def _entry(tenant_id: uuid.UUID, row: Mapping[str, Any]) -> dict[str, Any]:
    entry = {name: row[name] for name in COLUMNS if name in row}
    entry |= {name: str(row[name]) for name in ("id", "cluster")}
    entry |= {name: row[name].isoformat() for name in ("created_at", "expires_at")}
    entry["question"] = entry["answer"] = None
    if row["shared"] and row["size"]:
        asked = question_of_cell(tenant_id, row["id"], row["question"])
        opened = open_body(tenant_id, row["id"], row["body"])
        entry["question"] = asked.text if asked is not None else None
        entry["answer"] = opened[0].answer.text if opened is not None else None
    return entry
