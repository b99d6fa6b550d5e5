"""Errors in Anthropic's format: an upstream's into the class that decides what to do, and ours into a caller's body."""

from collections.abc import Mapping
from uuid import UUID

import msgspec

from kernel.errors import ParleyError
from providers.adapters.errors import BY_STATUS, Rule, Said, provider_error, words
from providers.errors import ProviderError

_BAD = frozenset({400, 413})

RULES: tuple[Rule, ...] = (
    Rule("too_long", statuses=_BAD, words=words(r"prompt is too long|exceeds? (the )?context (limit|window)")),
    # An account without credit is told so with the status of a bad request.
    Rule("quota", codes=frozenset({"billing_error"})),
    Rule("quota", statuses=_BAD, words=words(r"credit balance|billing|usage limits?")),
    Rule("rate_limited", codes=frozenset({"rate_limit_error"})),
    Rule("misconfigured", codes=frozenset({"authentication_error", "permission_error", "not_found_error"})),
    Rule("transient", codes=frozenset({"overloaded_error", "api_error", "timeout_error"})),
    Rule("rejected", codes=frozenset({"invalid_request_error", "request_too_large"})),
    *BY_STATUS,
)


def classify(*, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error that an upstream's answer with this status (of 300 or more) is."""
    return provider_error(_read(body, status=status), RULES, status=status, headers=headers)


def classify_frame(body: bytes) -> ProviderError:
    """The error that came with a 200: as the body, or as an event of the stream."""
    return provider_error(_read(body, status=None), RULES)


class _Error(msgspec.Struct):
    type: str = ""
    message: str = ""


class _Body(msgspec.Struct):
    error: _Error


_body = msgspec.json.Decoder(_Body)


def _read(body: bytes, *, status: int | None) -> Said:
    try:
        error = _body.decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Said(status=status)
    # A frame has no status: what a bad request was told is looked for in its words all the same.
    known = 400 if status is None and error.type == "invalid_request_error" else status
    return Said(error.message, frozenset({error.type.lower()} - {""}), status=known)


TYPES: dict[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
OVERLOADED = 529
_STATUSES = {503: OVERLOADED}


def status_of(error: ParleyError) -> int:
    """The HTTP status that a caller of this format gets."""
    return _STATUSES.get(error.status, error.status)


def encode_error(error: ParleyError, *, request_id: UUID) -> bytes:
    """The body, and the data of the event in mid-stream, in which a caller of this format gets one of our errors."""
    status = status_of(error)
    kind = TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")
    said: dict[str, object] = {"type": kind, "message": error.message, "details": {"error_code": error.code}}
    return msgspec.json.encode({"type": "error", "error": said, "request_id": str(request_id)})
