"""Cohere's errors: `{"message": "…"}` with a status; in mid-stream, the end of the message says what went wrong."""

from collections.abc import Mapping

import msgspec

from providers.adapters.errors import BY_STATUS, Rule, Said, provider_error, words
from providers.adapters.reading import CANT_READ
from providers.errors import ProviderError

RULES: tuple[Rule, ...] = (
    Rule(
        "too_long",
        statuses=frozenset({400, 413, 422}),
        words=words(r"too many tokens|maximum (context|input)|context (length|window)|token limit"),
    ),
    # A trial key has its quota by the month, and its limits by the minute.
    Rule("quota", statuses=frozenset({429}), words=words(r"month|billing|credit|quota|balance")),
    # A token that a list of Cohere's forbids, in the request or in the answer.
    Rule("rejected", statuses=frozenset({498})),
    Rule("transient", statuses=frozenset({499})),
    *BY_STATUS,
)


class _Body(msgspec.Struct):
    message: object = None


_body = msgspec.json.Decoder(_Body)


def classify(*, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error that an answer with this status (of 300 or more) is."""
    return provider_error(_read(body, status=status), RULES, status=status, headers=headers)


def classify_frame(body: bytes) -> ProviderError:
    """The error that came with a 200: as the body, or as an event of the stream."""
    return provider_error(_read(body, status=None), RULES)


def failed(said: str) -> ProviderError:
    """The error that the end of a message names."""
    return provider_error(Said(said), RULES)


def _read(body: bytes, *, status: int | None) -> Said:
    try:
        message = _body.decode(body).message
    except CANT_READ:
        return Said(status=status)
    return Said(message if isinstance(message, str) else "", status=status)
