"""Errors in OpenAI's format: an upstream's into the class that decides what to do, and ours into a caller's
body."""

from collections.abc import Mapping

import msgspec

from kernel.errors import ParleyError
from providers.adapters.errors import BY_STATUS, Rule, Said, provider_error, words
from providers.errors import ProviderError

RULES: tuple[Rule, ...] = (
    Rule("too_long", codes=frozenset({"context_length_exceeded", "exceed_context_size_error"})),
    Rule(
        "too_long",
        statuses=frozenset({400, 413, 422}),
        words=words(r"context (length|size|window)|maximum context|prompt is too long|too many (input )?tokens"),
    ),
    Rule("rejected", codes=frozenset({"content_filter", "content_policy_violation"})),
    Rule(
        "rejected",
        statuses=frozenset({400, 403, 422}),
        words=words(r"content policy|moderation|was flagged|safety system"),
    ),
    Rule(
        "quota",
        codes=frozenset({"insufficient_quota", "billing_hard_limit_reached", "resource_exhausted"}),
        statuses=frozenset({402}),
    ),
    # These come first: what else they say may well be where to raise a quota, or to pay for more.
    Rule("rate_limited", codes=frozenset({"rate_limit_exceeded"})),
    Rule("rate_limited", statuses=frozenset({429}), words=words(r"rate.?limit|(try again|retry) (in|after) ")),
    Rule("quota", statuses=frozenset({429}), words=words(r"quota|billing|credit|balance")),
    Rule("rate_limited", statuses=frozenset({429})),
    Rule("misconfigured", codes=frozenset({"invalid_api_key", "model_not_found"})),
    Rule("misconfigured", statuses=frozenset({401, 403, 404})),
    Rule("transient", codes=frozenset({"server_error", "overloaded_error"})),
    *BY_STATUS,
)


def classify(*, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """The error that an upstream's answer with this status (of 300 or more) is."""
    return provider_error(read_error(body, status=status), RULES, status=status, headers=headers)


def classify_frame(body: bytes) -> ProviderError:
    """The error that came with a 200: as the body, or as a frame of the stream."""
    return provider_error(read_error(body, status=None), RULES)


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
    said = next((found for key in ("message", "detail", "error") if (found := _told(error.get(key)))), "")
    named = (error.get(key) for key in ("code", "type", "status"))
    codes = frozenset(name.lower() for name in named if isinstance(name, str))
    number = error.get("code")
    if status is None and isinstance(number, int) and 300 <= number <= 599:
        status = number
    param = error.get("param")
    return Said(said, codes, param if isinstance(param, str) else None, status)


def _told(said: object) -> str:
    """The words of a message that may be a list of what is wrong where (Mistral: `{"detail": [{"loc", "msg"}]}`)."""
    match said:
        case str():
            return said
        case {"detail": detail}:
            return _told(detail)
        case [*items]:
            return "; ".join(_wrong_at(item) for item in items if isinstance(item, dict) and item.get("msg"))
    return ""


def _wrong_at(item: dict[str, object]) -> str:
    place = item.get("loc")
    return f"{'.'.join(map(str, place))}: {item['msg']}" if isinstance(place, list) else str(item["msg"])


def encode_error(error: ParleyError) -> bytes:
    """The body, and the frame in mid-stream, in which a caller of this format gets one of our errors."""
    details = error.details or {}
    param = details.get("param")
    return msgspec.json.encode(
        {"error": {"message": error.message, "type": error.type, "param": param, "code": error.code}}
    )
