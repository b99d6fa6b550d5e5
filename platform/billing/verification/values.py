"""What a verification looks at, and what it finds."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from kernel.ids import uuid7_floor

DIFFERENCES_MAX = 20
"""Of one tenant: then its verification ends."""
ERROR_CHARS_MAX = 300


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that isn't as it must be: where, what it should be, and what it is."""

    check: str
    table: str
    key: Mapping[str, Any]
    expected: Any
    found: Any

    def body(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "check": self.check,
            "table": self.table,
            "key": {name: value if isinstance(value, int | None) else str(value) for name, value in self.key.items()},
            "expected": _plain(self.expected),
            "found": _plain(self.found),
        }


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | str | None) else str(value)


class TooMany(Exception):
    """So many differences were found that looking for more is of no use."""


@dataclass(slots=True)
class Findings:
    """What was looked at, by check, and the first differences."""

    checked: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    def look(self, check: str, rows: int = 1) -> None:
        """Count rows that were looked at."""
        self.checked[check] = self.checked.get(check, 0) + rows

    def differs(self, check: str, table: str, key: Mapping[str, Any], *, expected: Any, found: Any) -> None:
        """Note a difference. Raises `TooMany`."""
        self.differences.append(Difference(check, table, key, expected, found))
        if len(self.differences) >= DIFFERENCES_MAX:
            raise TooMany

    def unfinished(self, tenant_id: uuid.UUID, error: Exception) -> None:
        """Note that something could not be computed."""
        key = {"id": tenant_id}
        found = f"{type(error).__name__}: {error}"[:ERROR_CHARS_MAX]
        self.differences.append(Difference("unfinished", "tenants_tenant", key, "verified to the end", found))


@dataclass(frozen=True, slots=True)
class Books:
    """Whose books are verified. `since` leaves out records of requests before it."""

    tenant_id: uuid.UUID
    slug: str
    zone: ZoneInfo
    opened_at: datetime
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A month of records: by the ids of their requests, and by time. None is without an end."""

    since: datetime | None
    until: datetime | None

    @property
    def first_id(self) -> uuid.UUID:
        """The least id of a request in it."""
        return uuid.UUID(int=0) if self.since is None else uuid7_floor(round(self.since.timestamp() * 1000))

    @property
    def last_id(self) -> uuid.UUID:
        """The greatest id of a request in it."""
        if self.until is None:
            return uuid.UUID(int=2**128 - 1)
        return uuid.UUID(int=uuid7_floor(round(self.until.timestamp() * 1000)).int - 1)


def windows_of(books: Books, *, now: datetime) -> Iterator[Window]:
    """The months since a tenant's first, as the tables' partitions have them. Before and after there is no end, so nothing
    falls between."""
    start = books.since or books.opened_at
    edge = datetime(start.year, start.month, 1, tzinfo=UTC)
    since = books.since
    while edge <= now:
        edge = datetime(edge.year + edge.month // 12, edge.month % 12 + 1, 1, tzinfo=UTC)
        yield Window(since, edge)
        since = edge
    yield Window(since, None)
