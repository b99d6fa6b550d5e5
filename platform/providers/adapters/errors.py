"""What an upstream's error means: the part of it that every format shares.

A format reads an error's body into `Said`; its table of rules, the first that fits, decides the class. Tables are
data, because providers share little in how they use statuses and codes, and sometimes only the words tell a used-up
quota from a limit on requests. A table ends in `BY_STATUS`, which holds for HTTP as such."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from providers.errors import (
    Misconfigured,
    ProviderError,
    QuotaExceeded,
    RateLimitedUpstream,
    Rejected,
    TooLong,
    Transient,
    Unsupported,
)

Kind = Literal["quota", "rate_limited", "transient", "misconfigured", "too_long", "unsupported", "rejected"]


@dataclass(frozen=True, slots=True)
class Said:
    """What an error body says: its `words`, its codes and types in lower case, the parameter it names. `status` is
    that of HTTP, or what the body names as such under a 200; `retry_after_s` what the body (not a header) asks
    for."""

    words: str = ""
    codes: frozenset[str] = frozenset()
    param: str | None = None
    status: int | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Fits when the code is one of `codes`, or the status one of `statuses` and, if given, `words` are
    found."""

    kind: Kind
    codes: frozenset[str] = frozenset()
    statuses: frozenset[int] = frozenset()
    words: re.Pattern[str] | None = None

    def fits(self, said: Said) -> bool:
        if self.codes & said.codes:
            return True
        if said.status not in self.statuses:
            return False
        return self.words is None or self.words.search(said.words) is not None


def words(pattern: str) -> re.Pattern[str]:
    """Words for a rule to look for, in any case."""
    return re.compile(pattern, re.IGNORECASE)


BY_STATUS: tuple[Rule, ...] = (
    Rule("quota", statuses=frozenset({402})),
    Rule("rate_limited", statuses=frozenset({429})),
    Rule("misconfigured", statuses=frozenset({401, 403, 404, 405, 407, *range(300, 400)})),
    Rule("transient", statuses=frozenset({408, 409, 423, 425, *range(500, 600)})),
    Rule("rejected", statuses=frozenset(range(400, 500))),
)


_CLASSES: dict[Kind, type[ProviderError]] = {
    "quota": QuotaExceeded,
    "misconfigured": Misconfigured,
    "too_long": TooLong,
    "unsupported": Unsupported,
    "rejected": Rejected,
}


def provider_error(
    said: Said, rules: Sequence[Rule], *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> ProviderError:
    """The error that this is by the first rule that fits; Transient if none does. `status` is that of HTTP, None under
    a 200; `headers` are those that the error came with."""
    kind: Kind = next((rule.kind for rule in rules if rule.fits(said)), "transient")
    code = min(said.codes, default=None)
    if kind == "rate_limited":
        wait_s = retry_after(headers) if headers is not None else None
        wait_s = said.retry_after_s if wait_s is None else wait_s
        return RateLimitedUpstream(said.words, retry_after_s=wait_s, status=status, upstream_code=code)
    if kind == "transient":
        return Transient(said.words, cause="server", status=status, upstream_code=code)
    # What is unsupported is named even where the upstream names nothing.
    param = said.param or ("model" if kind == "unsupported" else None)
    return _CLASSES[kind](said.words, status=status, upstream_code=code, param=param)


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
