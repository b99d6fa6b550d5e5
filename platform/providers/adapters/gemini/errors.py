"""Gemini's errors: `{"error": {"code", "message", "status", "details"}}` (google.rpc.Status), also in mid-stream."""

from collections.abc import Mapping

import msgspec

from providers.adapters.errors import BY_STATUS, Rule, Said, provider_error, words
from providers.adapters.reading import CANT_READ
from providers.errors import ProviderError

RULES: tuple[Rule, ...] = (
    Rule(
        "too_long",
        statuses=frozenset({400, 413}),
        words=words(
            r"token count .{0,40}exceeds|exceeds the maximum number of (input )?tokens|context (length|window)"
        ),
    ),
    Rule("quota", codes=frozenset({"resource_exhausted", "billing_disabled"})),
    Rule("quota", statuses=frozenset({429}), words=words(r"quota|billing|credits")),
    # A wrong key, or one from a place that isn't served, is a 400 here.
    Rule("misconfigured", codes=frozenset({"api_key_invalid", "unauthenticated", "permission_denied", "not_found"})),
    Rule("misconfigured", codes=frozenset({"failed_precondition"})),
    Rule("transient", codes=frozenset({"internal", "unavailable", "deadline_exceeded", "aborted", "cancelled"})),
    Rule("rejected", codes=frozenset({"invalid_argument", "out_of_range"})),
    *BY_STATUS,
)


class _Detail(msgspec.Struct):
    reason: str | None = None
    retryDelay: str | None = None  # noqa: N815 the format's own name


class _Error(msgspec.Struct):
    message: str = ""
    status: str | None = None
    code: int | None = None
    details: list[_Detail] = []


class _Body(msgspec.Struct):
    error: _Error


_body = msgspec.json.Decoder(_Body | list[_Body])


def classify(*, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error that an answer with this status (of 300 or more) is."""
    return provider_error(_read(body, status=status), RULES, status=status, headers=headers)


def classify_frame(body: bytes) -> ProviderError:
    """The error that came with a 200: as the body, or as a frame of the stream."""
    return provider_error(_read(body, status=None), RULES)


def _read(body: bytes, *, status: int | None) -> Said:
    """A stream that is refused comes as a list of one."""
    try:
        said = _body.decode(body)
    except CANT_READ:
        return Said(status=status)
    if isinstance(said, list):
        if not said:
            return Said(status=status)
        said = said[0]
    error = said.error
    named = [error.status, *(detail.reason for detail in error.details)]
    delays = [wait_s for detail in error.details if (wait_s := _seconds(detail.retryDelay)) is not None]
    return Said(
        error.message,
        frozenset(name.lower() for name in named if name),
        status=error.code if status is None else status,
        retry_after_s=delays[0] if delays else None,
    )


def _seconds(duration: str | None) -> float | None:
    """A duration of google.protobuf, such as `17.5s`."""
    try:
        return float(duration.removesuffix("s")) if duration else None
    except ValueError:
        return None
