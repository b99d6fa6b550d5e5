"""Lists by cursor: `?limit=` (1 to 100, 50 unless told) and `?cursor=`, answered as `{data, next_cursor}`.

A cursor is the last row's ordering value, opaque to clients. All paged tables are ordered by a unique, rising column (a
UUIDv7 id or a sequence), so a page never repeats or loses a row while others are written.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from rest_framework.request import Request

from kernel.errors import InvalidRequest

DEFAULT_LIMIT, MAX_LIMIT = 50, 100
_MAX_CURSOR_CHARS = 200

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class Page:
    """Rows already rendered, and the cursor of the next page, None at the end."""

    data: list[Any]
    next_cursor: str | None

    def body(self) -> dict[str, Any]:
        """The JSON body of this page."""
        return {"data": self.data, "next_cursor": self.next_cursor}


def paginate(
    request: Request,
    rows: "QuerySet[M]",
    *,
    render: Callable[[M], Any],
    order_by: str = "id",
    descending: bool = False,
) -> Page:
    """One page of `rows` by the unique column `order_by`. Raises `InvalidRequest` for a bad limit or cursor."""
    limit = _limit(request)
    rows = _beyond(request, rows, f"{order_by}__{'lt' if descending else 'gt'}")
    found = list(rows.order_by(f"-{order_by}" if descending else order_by)[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    return Page(
        data=[render(row) for row in found],
        next_cursor=_encode(str(getattr(found[-1], order_by))) if more else None,
    )


def paginate_several(request: Request, sources: "Sequence[QuerySet[Any]]") -> Page:
    """One page of the rows of several tables, all ordered by their ids. Raises as `paginate`."""
    limit = _limit(request)
    found = [row for rows in sources for row in _beyond(request, rows, "id__gt").order_by("id")[: limit + 1]]
    found.sort(key=lambda row: row.id)
    more = len(found) > limit
    return Page(data=found[:limit], next_cursor=_encode(str(found[limit - 1].id)) if more else None)


def _beyond(request: Request, rows: "QuerySet[M]", condition: str) -> "QuerySet[M]":
    """The rows after those of the page that the cursor ended."""
    cursor = request.query_params.get("cursor")
    if not cursor:
        return rows
    try:
        return rows.filter(**{condition: _decode(cursor)})
    except (ValidationError, ValueError, TypeError) as error:
        raise _bad_cursor() from error


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_LIMIT):
        raise InvalidRequest(f"limit: a whole number from 1 to {MAX_LIMIT} is needed.", details={"param": "limit"})
    return int(text)


def _encode(value: str) -> str:
    return base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    if len(cursor) > _MAX_CURSOR_CHARS:
        raise _bad_cursor()
    try:
        value = base64.b64decode(
            cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True
        ).decode("ascii")
    except (UnicodeError, binascii.Error) as error:
        raise _bad_cursor() from error
    if "\x00" in value:
        raise _bad_cursor()
    return value


def _bad_cursor() -> InvalidRequest:
    return InvalidRequest("cursor: this is no cursor of this list.", details={"param": "cursor"})
