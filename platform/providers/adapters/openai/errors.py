"""Errors in OpenAI's format: an upstream's into the class that decides what to do, and ours into a caller's
body.

The classes are decided by the first rule that fits, because providers that share the format share little in
how they use it: statuses, codes and sometimes only the words tell a used-up quota from a limit on requests.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec

from kernel.errors import ParleyError
from providers.errors import (
    Misconfigured,
    ProviderError,
    QuotaExceeded,
    RateLimitedUpstream,
    Rejected,
    TooLong,
    Transient,
)

Kind = Literal["quota", "rate_limited", "transient", "misconfigured", "too_long", "rejected"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Fits when the code is one of `codes`, or the status one of `statuses` and, if given, `words` are
    found."""

    kind: Kind
    codes: frozenset[str] = frozenset()
    statuses: frozenset[int] = frozenset()
    words: re.Pattern[str] | None = None

    def fits(self, said: "Said") -> bool:
        if self.codes & said.codes:
            return True
        if said.status not in self.statuses:
            return False
        return self.words is None or self.words.search(said.words) is not None


@dataclass(frozen=True, slots=True)
class Said:
    """What an error body says: its `words`, its codes and types in lower case, the parameter it names."""

    words: str = ""
    codes: frozenset[str] = frozenset()
    param: str | None = None
    status: int | None = None


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_CLIENT_ERRORS = frozenset(range(400, 500))

RULES: tuple[Rule, ...] = (
    Rule("too_long", codes=frozenset({"context_length_exceeded", "exceed_context_size_error"})),
    Rule(
        "too_long",
        statuses=frozenset({400, 413, 422}),
        words=_words(r"context (length|size|window)|maximum context|prompt is too long|too many (input )?tokens"),
    ),
    Rule("rejected", codes=frozenset({"content_filter", "content_policy_violation"})),
    Rule(
        "rejected",
        statuses=frozenset({400, 403, 422}),
        words=_words(r"content policy|moderation|was flagged|safety system"),
    ),
    Rule(
        "quota",
        codes=frozenset({"insufficient_quota", "billing_hard_limit_reached", "resource_exhausted"}),
        statuses=frozenset({402}),
    ),
    # These come first: what else they say may well be where to raise a quota, or to pay for more.
    Rule("rate_limited", codes=frozenset({"rate_limit_exceeded"})),
    Rule("rate_limited", statuses=frozenset({429}), words=_words(r"rate.?limit|(try again|retry) (in|after) ")),
    Rule("quota", statuses=frozenset({429}), words=_words(r"quota|billing|credit|balance")),
    Rule("rate_limited", statuses=frozenset({429})),
    Rule("misconfigured", codes=frozenset({"invalid_api_key", "model_not_found"})),
    Rule("misconfigured", statuses=frozenset({401, 403, 404, 405, 407, *range(300, 400)})),
    Rule("transient", codes=frozenset({"server_error", "overloaded_error"})),
    Rule("transient", statuses=frozenset({408, 409, 423, 425, *range(500, 600)})),
    Rule("rejected", statuses=_CLIENT_ERRORS),
)


def classify(*, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error that an upstream's answer with this status (of 300 or more) is."""
    said = read_error(body, status=status)
    return _error(said, status=status, retry_after_s=retry_after(headers))


def classify_frame(body: bytes) -> ProviderError:
    """The error that came with a 200: as the body, or as a frame of the stream."""
    return _error(read_error(body, status=None), status=None, retry_after_s=None)


def _error(said: Said, *, status: int | None, retry_after_s: float | None) -> ProviderError:
    kind = next((rule.kind for rule in RULES if rule.fits(said)), "transient")
    code = min(said.codes, default=None)
    match kind:
        case "quota":
            return QuotaExceeded(said.words, status=status, upstream_code=code)
        case "rate_limited":
            return RateLimitedUpstream(said.words, retry_after_s=retry_after_s, status=status, upstream_code=code)
        case "misconfigured":
            return Misconfigured(said.words, status=status, upstream_code=code)
        case "too_long":
            return TooLong(said.words, status=status, upstream_code=code, param=said.param)
        case "rejected":
            return Rejected(said.words, status=status, upstream_code=code, param=said.param)
    return Transient(said.words, cause="server", status=status, upstream_code=code)


def read_error(body: bytes, *, status: int | None) -> Said:
    """What an error body says, in any of the shapes in use. A body that is not JSON says nothing.

    A numeric `code` (OpenRouter) is the status where HTTP has none.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Said(status=status)
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error", value) if isinstance(value, dict) else value
    if not isinstance(error, dict):
        return Said(words=error if isinstance(error, str) else "", status=status)
    words = next((found for key in ("message", "detail", "error") if (found := _told(error.get(key)))), "")
    named = (error.get(key) for key in ("code", "type", "status"))
    codes = frozenset(name.lower() for name in named if isinstance(name, str))
    number = error.get("code")
    if status is None and isinstance(number, int) and 300 <= number <= 599:
        status = number
    param = error.get("param")
    return Said(words, codes, param if isinstance(param, str) else None, status)


def _told(said: object) -> str:
    """The words of a message that may be a list of what is wrong where (Mistral: `{"detail": [{"loc", "msg"}]}`)."""
    match said:
        case str():
            return said
        case {"detail": detail}:
            return _told(detail)
        case [*items]:
            told = ((item.get("loc"), item.get("msg")) for item in items if isinstance(item, dict))
            return "; ".join(
                f"{'.'.join(map(str, loc))}: {msg}" if isinstance(loc, list) else str(msg) for loc, msg in told if msg
            )
    return ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (RFC 9110: seconds, or a date)."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            return float(value) * unit_s
        if value and name == "retry-after":
            return _until(value)
    return None


def _until(date: str) -> float | None:
    try:
        then = parsedate_to_datetime(date)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())


def encode_error(error: ParleyError) -> bytes:
    """The body, and the frame in mid-stream, in which a caller of this format gets one of our errors."""
    details = error.details or {}
    param = details.get("param")
    return msgspec.json.encode(
        {"error": {"message": error.message, "type": error.type, "param": param, "code": error.code}}
    )
