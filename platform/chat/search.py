"""Search in one's rooms: ids and ranks come from `lookup.search_messages`, texts and names by the tenant's own policy.

The function takes no tenant and no person: it searches for whom the transaction acts. See docs/adr/0014-search.md.
"""

import re
import struct
import uuid
from datetime import datetime
from typing import Any

import msgspec
from psycopg.errors import QueryCanceled

from chat.bounds import SEARCH_CHARS_MAX, SEARCH_PAGE_MAX, SEARCH_TIMEOUT_MS, SNIPPET_SOURCE_CHARS
from chat.checks import check_text
from chat.shapes import Author, author_shape
from chat.store import every, transaction
from kernel.errors import InvalidRequest, Unavailable
from tenants.principals import Principal

_START, _STOP = "\x02", "\x03"
_MARKED = re.compile(f"{_START}(.*?){_STOP}", re.DOTALL)
_CURSOR = re.compile(r"([0-9.e+-]{1,24}):([0-9a-f-]{36})")
_MARKS = f"StartSel={_START}, StopSel={_STOP}"
_WHOLE_CHARS = 240
"""A message this short is shown whole."""

# Two statements: PostgreSQL doesn't know how few rows a function answers with, and would read whole tables to join them.
_SEARCH = """
    SELECT message_id, rank, capped FROM lookup.search_messages(
        %(words)s, %(room)s, %(author)s, %(since)s, %(until)s, %(rank)s::real, %(id)s, %(limit)s
    )
"""
_SHOWN = """
    SELECT m.id, m.room_id, r.title, m.author_kind, m.author_membership_id, p.name AS author_name, m.model, m.imported_role,
           m.imported_name, m.created_at,
           ts_headline('public.parley_words', translate(
               CASE WHEN length(m.text) <= %(source)s THEN m.text
               ELSE substr(m.text, greatest(1, strpos(lower(m.text), %(near)s) - 1000), %(source)s) END,
               %(marks)s, ''), websearch_to_tsquery('public.parley_words', %(words)s),
               CASE WHEN length(m.text) <= %(short)s THEN %(whole)s ELSE %(pieces)s END) AS snippet
    FROM chat_message m
    JOIN chat_room r ON r.tenant_id = m.tenant_id AND r.id = m.room_id
    LEFT JOIN tenants_membership a ON a.tenant_id = m.tenant_id AND a.id = m.author_membership_id
    LEFT JOIN tenants_person p ON p.id = a.person_id
    WHERE m.id = ANY (%(ids)s)
"""
_HEADLINES = {
    "marks": _START + _STOP,
    "source": SNIPPET_SOURCE_CHARS,
    "short": _WHOLE_CHARS,
    "whole": f"{_MARKS}, HighlightAll=true",
    "pieces": f'{_MARKS}, MaxWords=32, MinWords=12, ShortWord=0, MaxFragments=2, FragmentDelimiter=" … "',
}


class Asked(msgspec.Struct, frozen=True):
    """What is looked for: words as in a web search ("quoted phrase", or, -without), and where."""

    words: str
    room: uuid.UUID | None = None
    author: uuid.UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


class SnippetPart(msgspec.Struct, frozen=True):
    """A piece of a message's text, as it was written: whoever shows it as HTML escapes it."""

    text: str
    match: bool


class Hit(msgspec.Struct, frozen=True):
    """A message that was found. `score` compares hits of one search alone."""

    message: uuid.UUID
    room: uuid.UUID
    room_title: str
    author: Author
    created_at: datetime
    snippet: tuple[SnippetPart, ...]
    score: float

    @property
    def place(self) -> str:
        """Where the hit stands in the list, for the next page."""
        return f"{self.score!r}:{self.message}"


class Found(msgspec.Struct, frozen=True):
    """A page of hits, best first. `capped`: so many messages match that only the newest of them were ranked."""

    hits: list[Hit]
    capped: bool


async def search_messages(*, member: Principal, asked: Asked, limit: int, after: str | None = None) -> Found:
    """The messages of the member's rooms that match, best first, at most `limit` of them after the place `after`.

    Raises `InvalidRequest`, `PermissionDenied`, and `Unavailable` when it takes longer than `SEARCH_TIMEOUT_MS`.
    """
    member.require("rooms.read")
    check_text(asked.words, field="q", chars_max=SEARCH_CHARS_MAX)
    rank, last = _place(after)
    parameters = _HEADLINES | {
        "words": asked.words,
        "near": _near(asked.words),
        "room": asked.room,
        "author": asked.author,
        "since": asked.since,
        "until": asked.until,
        "rank": rank,
        "id": last,
        "limit": min(limit, SEARCH_PAGE_MAX + 1),
    }
    try:
        async with transaction(member.tenant_id, person_id=member.person_id) as connection:
            await connection.execute(f"SET LOCAL statement_timeout = {SEARCH_TIMEOUT_MS}".encode())
            found = await every(connection, _SEARCH, parameters)
            ids = [row["message_id"] for row in found]
            shown = await every(connection, _SHOWN, parameters | {"ids": ids}) if ids else []
    except Unavailable as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise Unavailable("This search takes too long. Ask for rarer words, or within one room.") from error
        raise
    by_id = {row["id"]: row for row in shown}
    hits = [_hit(by_id[row["message_id"]], row["rank"]) for row in found if row["message_id"] in by_id]
    return Found(hits=hits, capped=any(row["capped"] for row in found))


def _place(after: str | None) -> tuple[float | None, uuid.UUID | None]:
    if after is None:
        return None, None
    match = _CURSOR.fullmatch(after)
    try:
        if match:
            # PostgreSQL keeps a rank in four bytes, and takes none that these can't hold.
            return struct.unpack("f", struct.pack("f", float(match[1])))[0], uuid.UUID(match[2])
    except ValueError as error:
        raise _no_cursor() from error
    raise _no_cursor()


def _no_cursor() -> InvalidRequest:
    return InvalidRequest("cursor: this is no cursor of this list.", details={"param": "cursor"})


def _near(words: str) -> str:
    """What the first place of a match probably looks like."""
    plain = [word.strip('"').lower() for word in words.split() if not word.startswith("-")]
    return plain[0] if plain else ""


def _hit(row: dict[str, Any], rank: float) -> Hit:
    return Hit(
        message=row["id"],
        room=row["room_id"],
        room_title=row["title"],
        author=author_shape(row),
        created_at=row["created_at"],
        snippet=tuple(_parts(row["snippet"])),
        score=rank,
    )


def _parts(marked: str) -> list[SnippetPart]:
    """The pieces of a headline; what isn't between the marks is no match."""
    pieces = _MARKED.split(marked)
    return [SnippetPart(text=text, match=place % 2 == 1) for place, text in enumerate(pieces) if text]
