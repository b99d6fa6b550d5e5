"""What goes wrong at a provider, by what to do about it.

    ProviderError(Exception)   an attempt at a deployment failed  then      the caller, if nothing is left
    ├── QuotaExceeded          insufficient quota, billing        next      502
    ├── RateLimitedUpstream    any other 429; `retry_after_s`     next      429 with Retry-After
    ├── Transient              `cause`: see Cause                 next      502; 504 if all timed out
    ├── Misconfigured          401, 403, 404, redirects           next      502
    ├── TooLong                the context length is exceeded     next      400 context_length_exceeded
    ├── Unsupported            the deployment can't say it        next      400 unsupported_parameter, named
    ├── Overloaded             no slot in time; `retry_after_s`   next      503 or 429, with Retry-After
    ├── Skipped                not tried: it failed or paused     next      503 or 429, with Retry-After
    └── Rejected               400, 422, content policy           stop      400 rejected_by_provider

    UpstreamFailed, UpstreamTimeout, RateLimited, InvalidRequest, Unavailable (kernel.errors)
    ├── UpstreamUnusable       502  upstream_failed, with x-should-retry: false
    ├── NoneAvailable          503  upstream_unavailable, with Retry-After
    │   └── OverCapacity       503  overloaded, with Retry-After
    ├── ContextTooLong         400  context_length_exceeded
    ├── NotSupported           400  unsupported_parameter
    └── RequestRejected        400  rejected_by_provider

The first tree never leaves `providers`: `caller_error` turns the failures of a request into one error of the
second, which lists each attempt and why. Only what was rejected quotes the provider's own words: those of a
401 may hold part of a key, and those of a 500 anything."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from kernel.errors import InvalidRequest, ParleyError, RateLimited, Unavailable, UpstreamFailed, UpstreamTimeout

WhySkipped = Literal["failing", "recovering", "rate_limited", "late"]
Cause = Literal["connect", "timeout", "server", "cut", "garbage"]
MAX_WORDS = 500
HIDDEN = "…"
MIN_HIDDEN_CHARS = 12
"""What is shorter than this may be a word, and is no secret worth the name."""
_MIN_PART_CHARS = 8
MAX_RETRY_AFTER_S = 3_600.0


class ProviderError(Exception):
    """An attempt failed.

    `status` is the HTTP status the upstream answered with, if it came to that; `upstream_code` and `words`
    are the upstream's own (bounded; for the request log, not for callers). `worked` says that the upstream
    may have spent tokens before it failed."""

    code: ClassVar[str] = "provider_error"
    summary: ClassVar[str] = "failed"
    moves_on: ClassVar[bool] = True
    """Whether the next deployment of the route is worth trying."""

    def __init__(
        self,
        words: str = "",
        *,
        status: int | None = None,
        upstream_code: str | None = None,
        param: str | None = None,
        worked: bool = False,
    ) -> None:
        self.words = words[:MAX_WORDS]
        self.status = status
        self.upstream_code = upstream_code
        self.param = param
        self.worked = worked
        super().__init__(f"{self.reason}: {self.words}" if self.words else self.reason)

    @property
    def reason(self) -> str:
        """Why, in words that are safe to show to any caller."""
        return f"{self.summary} (HTTP {self.status})" if self.status else self.summary

    def hide(self, secret: str | None) -> None:
        """Take a secret out of the upstream's words, which may hold what was sent to it, and may end in its middle."""
        if secret is None or len(secret) < MIN_HIDDEN_CHARS:
            return
        words = self.words.replace(secret, HIDDEN)
        for length in range(min(len(secret), len(words)), _MIN_PART_CHARS - 1, -1):
            if words.endswith(secret[:length]):
                words = words[:-length] + HIDDEN
                break
        if words != self.words:
            self.words = words
            self.args = (f"{self.reason}: {words}",)


class QuotaExceeded(ProviderError):
    """The account at the provider has no quota or credit left."""

    code = "quota"
    summary = "the provider's quota is used up"


class RateLimitedUpstream(ProviderError):
    """The provider asks to slow down, for `retry_after_s` if it said."""

    code = "rate_limited"
    summary = "the provider is limiting requests"

    def __init__(
        self,
        words: str = "",
        *,
        retry_after_s: float | None = None,
        status: int | None = None,
        upstream_code: str | None = None,
    ) -> None:
        if retry_after_s is not None:
            retry_after_s = min(max(retry_after_s, 0.0), MAX_RETRY_AFTER_S)
        self.retry_after_s = retry_after_s
        super().__init__(words, status=status, upstream_code=upstream_code)


class Transient(ProviderError):
    """It may well work the next time. `cause` says what happened."""

    code = "transient"
    SUMMARIES: ClassVar[dict[Cause, str]] = {
        "connect": "no connection could be made",
        "timeout": "no answer in time",
        "server": "the provider failed",
        "cut": "the answer was cut short",
        "garbage": "the answer could not be understood",
    }

    def __init__(
        self, words: str = "", *, cause: Cause, status: int | None = None, upstream_code: str | None = None
    ) -> None:
        self.cause = cause
        worked = cause in ("timeout", "cut", "garbage")
        super().__init__(words, status=status, upstream_code=upstream_code, worked=worked)

    @property
    def reason(self) -> str:
        summary = self.SUMMARIES[self.cause]
        return f"{summary} (HTTP {self.status})" if self.status else summary


class Misconfigured(ProviderError):
    """The deployment can't work as it is set up: its key, its address or its model's name is wrong."""

    code = "misconfigured"
    summary = "the deployment is misconfigured"


class TooLong(ProviderError):
    """The request doesn't fit this model's context."""

    code = "too_long"
    summary = "the request is longer than the model's context"


class Unsupported(ProviderError):
    """The request asks for something this deployment can't do, or its format can't say. `param` names it. Nothing was
    worked on."""

    code = "unsupported"
    summary = "the model can't do this"

    @property
    def reason(self) -> str:
        return f"{self.summary}: {self.param}" if self.param else self.summary


class Rejected(ProviderError):
    """The provider refuses this request, and would again."""

    code = "rejected"
    summary = "the provider rejected the request"
    moves_on = False


class Overloaded(ProviderError):
    """There is no slot at this deployment in the time that the caller has. Nothing was sent. With `over_share` it is the
    caller's tenant who asks for more than its part."""

    code = "overloaded"
    summary = "not tried, because too much is waiting for it"

    def __init__(self, words: str = "", *, over_share: bool, retry_after_s: float) -> None:
        self.over_share = over_share
        self.retry_after_s = retry_after_s
        super().__init__(words)


class Skipped(ProviderError):
    """It was not tried. `why` says what it did before, `retry_after_s` when it may be tried again."""

    code = "skipped"
    SUMMARIES: ClassVar[dict[WhySkipped, str]] = {
        "failing": "not tried, because it failed too often just now",
        "recovering": "not tried, because it is just recovering",
        "rate_limited": "not tried, because its provider asked for a pause",
        "late": "not tried, because there was no time left",
    }

    def __init__(self, why: WhySkipped, *, retry_after_s: float = 0.0) -> None:
        self.why = why
        self.retry_after_s = retry_after_s
        super().__init__()

    @property
    def reason(self) -> str:
        return self.SUMMARIES[self.why]


class UpstreamUnusable(UpstreamFailed):
    """No provider of this model can be used until somebody mends its key, its address or its quota."""

    @property
    def headers(self) -> dict[str, str]:
        # The official clients retry every 5xx but for this.
        return {"x-should-retry": "false"}


class NoneAvailable(Unavailable):
    """No provider of this model can be tried at the moment; one may be in `retry_after_s`."""

    code = "upstream_unavailable"

    def __init__(self, message: str, *, retry_after_s: int, details: dict[str, Any] | None = None) -> None:
        super().__init__(message, details=details)
        self.retry_after_s = max(1, retry_after_s)

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after_s)}


class ContextTooLong(InvalidRequest):
    """The request is longer than the model's context."""

    code = "context_length_exceeded"


class NotSupported(InvalidRequest):
    """No deployment of the model can do what the request asks for."""

    code = "unsupported_parameter"


class RequestRejected(InvalidRequest):
    """The provider rejected the request."""

    code = "rejected_by_provider"


class OverCapacity(NoneAvailable):
    """More is asked of this model than can be answered in time."""

    code = "overloaded"


_PUSHBACK_STATUSES = frozenset({503, 529})


def is_pushback(error: object) -> bool:
    """Whether an upstream says by this that it has too much to do."""
    if isinstance(error, Transient):
        return error.cause == "timeout" or error.status in _PUSHBACK_STATUSES
    return isinstance(error, RateLimitedUpstream)


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that failed: where (`provider`, and the deployment's `name`) and why."""

    provider: str
    name: str
    error: ProviderError


def caller_error(failures: Sequence[Failure]) -> ParleyError:
    """The one error that the caller of a request gets whose attempts failed like this, the last of them for
    good."""
    attempts = [
        {
            "provider": failure.provider,
            "deployment": failure.name,
            "class": failure.error.code,
            "reason": failure.error.reason,
        }
        for failure in failures
    ]
    details = {"attempts": attempts}
    if not failures:
        return UpstreamFailed("No deployment of this model is available.", details=details)
    errors = [failure.error for failure in failures]
    return _callers_fault(errors, details) or _providers_fault(failures, errors, details)


def _callers_fault(errors: Sequence[ProviderError], details: dict[str, Any]) -> ParleyError | None:
    """The 400 of a request that nobody would take as it is."""
    last = errors[-1]
    if isinstance(last, Rejected):
        return RequestRejected(last.words or RequestRejected.__doc__ or "", details={**details, "param": last.param})
    if isinstance(last, Unsupported) and all(isinstance(error, Unsupported) for error in errors):
        words = last.words or f"The model can't do what `{last.param}` asks for."
        return NotSupported(words, details={**details, "param": last.param})
    if all(isinstance(error, TooLong | Unsupported) for error in errors):
        words = next(error.words for error in reversed(errors) if isinstance(error, TooLong))
        return ContextTooLong(words, details={**details, "param": "messages"})
    return None


def _providers_fault(
    failures: Sequence[Failure], errors: Sequence[ProviderError], details: dict[str, Any]
) -> ParleyError:
    listed = "; ".join(f"{failure.name}: {failure.error.reason}" for failure in failures)
    errors = [error for error in errors if not isinstance(error, Unsupported)]
    tried = [error for error in errors if not isinstance(error, Skipped)]
    put_off = [error for error in errors if isinstance(error, Skipped | Overloaded | RateLimitedUpstream)]
    if len(put_off) == len(errors):
        return _put_off(put_off, listed, details)
    if all(isinstance(error, Transient) and error.cause == "timeout" for error in tried):
        return UpstreamTimeout(f"The provider did not answer in time. {listed}", details=details)
    unusable = all(isinstance(error, Misconfigured | QuotaExceeded) for error in errors)
    kind = UpstreamUnusable if unusable else UpstreamFailed
    return kind(f"No provider could answer. {listed}", details=details)


def _put_off(
    errors: Sequence[Skipped | Overloaded | RateLimitedUpstream], listed: str, details: dict[str, Any]
) -> ParleyError:
    """The 429 or 503 of a request that nobody refused for good, and when the first will take it."""
    wait_s = math.ceil(min((error.retry_after_s or 0.0 for error in errors), default=0.0))
    if any(isinstance(error, Overloaded) and error.over_share for error in errors):
        return RateLimited(f"Too many requests of yours are waiting. {listed}", retry_after_s=wait_s, details=details)
    skipped = [error for error in errors if isinstance(error, Skipped)]
    if any(isinstance(error, RateLimitedUpstream) for error in errors) or (
        len(skipped) == len(errors) and all(error.why == "rate_limited" for error in skipped)
    ):
        return RateLimited(f"The provider is limiting requests. {listed}", retry_after_s=wait_s, details=details)
    if len(skipped) < len(errors):
        return OverCapacity(f"Too many requests are waiting. {listed}", retry_after_s=wait_s, details=details)
    return NoneAvailable(f"No provider can be asked now. {listed}", retry_after_s=wait_s, details=details)
