"""What a request asks for in its query."""

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs

from kernel.errors import InvalidRequest
from providers.gateway.http import Request, whole_number

Query = Mapping[str, Sequence[str]]


def read_query(request: Request) -> Query:
    """The query's fields. Raises InvalidRequest."""
    try:
        return parse_qs(request.query, max_num_fields=100, errors="strict")
    except ValueError as error:
        raise InvalidRequest("The query can't be read.") from error


def one(query: Query, name: str) -> str | None:
    """A field, the last where it is repeated."""
    return query[name][-1] if name in query else None


def choice(query: Query, name: str, choices: Sequence[str]) -> str:
    """A field that is one of these; the first unless it is there. Raises InvalidRequest."""
    said = one(query, name) or choices[0]
    if said not in choices:
        raise InvalidRequest(f"`{name}` is one of: {', '.join(choices)}.", details={"param": name})
    return said


def limit(query: Query, *, default: int, most: int) -> int:
    """The field `limit`. Raises InvalidRequest."""
    found = whole_number(one(query, "limit") or str(default), least=1, most=most)
    if found is None:
        raise InvalidRequest(f"`limit` is a number from 1 to {most}.", details={"param": "limit"})
    return found
