"""Ollama's errors, which are words: `{"error": "…"}`, with a status or as a line of a stream."""

from collections.abc import Mapping

import msgspec

from providers.adapters.errors import BY_STATUS, Rule, Said, provider_error, words
from providers.adapters.reading import CANT_READ
from providers.errors import ProviderError

_ANY_CLIENT_ERROR = frozenset({400, 413, 422})

RULES: tuple[Rule, ...] = (
    Rule(
        "too_long",
        statuses=_ANY_CLIENT_ERROR | {500},
        words=words(r"exceeds? (the )?(maximum |available )?context|context (length|size|window)|prompt too long"),
    ),
    Rule("unsupported", statuses=_ANY_CLIENT_ERROR, words=words(r"does not support|is not supported")),
    Rule("quota", statuses=frozenset({402})),
    Rule("quota", statuses=frozenset({429}), words=words(r"usage limit|quota|upgrade")),
    *BY_STATUS,
)


class _Body(msgspec.Struct):
    error: object = None
    status_code: int | None = None


_body = msgspec.json.Decoder(_Body)


def classify(*, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error that an answer with this status (of 300 or more) is."""
    return provider_error(_read(body, status=status), RULES, status=status, headers=headers)


def classify_line(body: bytes) -> ProviderError:
    """The error that came with a 200: as the body, or as a line of the stream."""
    return provider_error(_read(body, status=None), RULES)


def _read(body: bytes, *, status: int | None) -> Said:
    try:
        said = _body.decode(body)
    except CANT_READ:
        return Said(status=status)
    text = said.error if isinstance(said.error, str) else ""
    return Said(text, status=said.status_code if status is None else status)
