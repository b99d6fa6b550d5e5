"""What answers say of limits: the headers of OpenAI's API, and beside them those of Anthropic's where that is spoken, from the
tightest bucket of each kind."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from kernel.errors import RateLimited
from providers.limits.buckets import Bucket, Kind

ANTHROPIC_SURFACE = "anthropic.messages"


class LimitState(msgspec.Struct, frozen=True):
    """How a bucket stands. `remaining` may be taken at once; it is full again in `reset_s`."""

    kind: Kind
    subject: str
    limit: int
    remaining: int
    reset_s: float


class LimitExceeded(RateLimited):
    """Too many requests or tokens a minute."""

    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after_s: float, states: tuple[LimitState, ...], bucket: Bucket) -> None:
        super().__init__(
            message,
            retry_after_s=-int(-retry_after_s // 1),
            details={"subject": bucket.subject, "retry_after_s": retry_after_s},
        )
        self.states = states
        self.bucket = bucket
        self._exactly_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        exactly = {"retry-after-ms": str(max(1, round(self._exactly_s * 1000)))}
        return super().headers | exactly | limit_headers(self.states)


def tightest(states: Iterable[LimitState]) -> tuple[LimitState, ...]:
    """Of each kind the one of which the smallest share is left."""
    found: dict[Kind, LimitState] = {}
    for state in states:
        known = found.get(state.kind)
        if known is None or state.remaining * known.limit < known.remaining * state.limit:
            found[state.kind] = state
    return tuple(found.values())


def limit_headers(states: Iterable[LimitState]) -> dict[str, str]:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}`."""
    headers = {}
    for state in states:
        headers[f"x-ratelimit-limit-{state.kind}"] = str(state.limit)
        headers[f"x-ratelimit-remaining-{state.kind}"] = str(state.remaining)
        headers[f"x-ratelimit-reset-{state.kind}"] = duration(state.reset_s)
    return headers


def anthropic_headers(states: Iterable[LimitState]) -> dict[str, str]:
    """`anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}`, where `reset` is a moment in RFC 3339 and whole seconds
    (docs.anthropic.com, "Rate limits", response headers)."""
    headers = {}
    now_s = time.time()
    for state in states:
        full_at = datetime.fromtimestamp(-int(-(now_s + state.reset_s) // 1), UTC)
        headers[f"anthropic-ratelimit-{state.kind}-limit"] = str(state.limit)
        headers[f"anthropic-ratelimit-{state.kind}-remaining"] = str(state.remaining)
        headers[f"anthropic-ratelimit-{state.kind}-reset"] = full_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return headers


def answer_headers(states: Iterable[LimitState], *, surface: str) -> dict[str, str]:
    """What an answer of an API says: `limit_headers`, and what that API's own clients read."""
    states = tuple(states)
    return limit_headers(states) | (anthropic_headers(states) if surface == ANTHROPIC_SURFACE else {})


def duration(seconds: float) -> str:
    """A time as OpenAI's API says it: `120ms`, `2.5s`, `6m0s`, `1h2m3s`."""
    ms = -int(-seconds * 1000 // 1)
    if ms < 1000:
        return f"{ms}ms"
    if ms < 60_000:
        return f"{ms / 1000:g}s"
    whole = -(-ms // 1000)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}h{minutes}m{left}s" if hours else f"{minutes}m{left}s"
