"""Lists by cursor: `?limit=` (1 to 100, 50 unless told) and `?cursor=`, answered as `{data, next_cursor}`.

A cursor is the last row's ordering value, opaque to clients. All paged tables are ordered by a unique, rising column (a
UUIDv7 id or a sequence), so a page never repeats or loses a row while others are written.
"""

import base64
import binascii
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from rest_framework.request import Request

from kernel.errors import InvalidRequest
from kernel.ids import parse_uuid

DEFAULT_LIMIT, MAX_LIMIT = 50, 100
_MAX_CURSOR_CHARS = 200

M = TypeVar("M", bound=Model)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """Rows already rendered, and the cursor of the next page, None at the end."""

    data: list[Any]
    next_cursor: str | None

    def body(self) -> dict[str, Any]:
        """The JSON body of this page."""
        return {"data": self.data, "next_cursor": self.next_cursor}


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page begins, in the caller's words: `after` is the ordering value of the last row seen, None at the start."""

    limit: int
    after: str | None

    @classmethod
    def of(cls, request: Request) -> "Cursor":
        """What the request asks. Raises `InvalidRequest`."""
        cursor = request.query_params.get("cursor")
        return cls(limit=_limit(request), after=_decode(cursor) if cursor else None)

    def uuid(self) -> uuid.UUID | None:
        """`after` as an id. Raises `InvalidRequest` for what is none."""
        if self.after is None:
            return None
        known = parse_uuid(self.after)
        if known is None:
            raise _bad_cursor()
        return known

    def page(self, found: Sequence[T], *, render: Callable[[T], Any], key: Callable[[T], str]) -> Page:
        """The page of what was found, of which one more than `limit` was looked for. `key` is a row's ordering value."""
        shown = found[: self.limit]
        more = len(found) > self.limit
        return Page(data=[render(row) for row in shown], next_cursor=_encode(key(shown[-1])) if more else None)


def paginate(
    request: Request,
    rows: "QuerySet[M]",
    *,
    render: Callable[[M], Any],
    order_by: str = "id",
    descending: bool = False,
) -> Page:
    """One page of `rows` by the unique column `order_by`. Raises `InvalidRequest` for a bad limit or cursor."""
    asked = Cursor.of(request)
    if asked.after is not None:
        try:
            rows = rows.filter(**{f"{order_by}__{'lt' if descending else 'gt'}": asked.after})
        except (ValidationError, ValueError, TypeError) as error:
            raise _bad_cursor() from error
    found = list(rows.order_by(f"-{order_by}" if descending else order_by)[: asked.limit + 1])
    return asked.page(found, render=render, key=lambda row: str(getattr(row, order_by)))


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
