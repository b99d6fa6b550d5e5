"""What the gateway and the pipeline tell `kernel.metrics`. Counts are gathered in memory and handed over each second, so that a
request costs about 3 µs of it (`bench/limits.py`).
"""

from functools import cache

from prometheus_client import Counter

from kernel import metrics
from providers.pipeline.values import Result

_gathered: dict[Counter, float] = {}


def request_answered(*, surface: str, status: int, cache_status: str) -> None:
    """One request to /v1 was answered; `surface` is its path as the routes spell it."""
    _count(_requests(surface, status, cache_status))


def result_settled(result: Result) -> None:
    """A job has ended: its attempts, and what they used."""
    for attempt in result.attempts:
        provider = attempt.candidate.target.provider
        _attempts(provider, attempt.error.code if attempt.error else "").observe(attempt.latency_ms / 1000)
        if attempt.ttft_ms is not None and result.job.request.stream:
            _first_token(provider).observe(attempt.ttft_ms / 1000)
        if attempt.usage.prompt:
            _count(_tokens(provider, "input"), attempt.usage.prompt)
        if attempt.usage.completion:
            _count(_tokens(provider, "output"), attempt.usage.completion)


def _count(counter: Counter, amount: float = 1.0) -> None:
    _gathered[counter] = _gathered.get(counter, 0.0) + amount


@metrics.sample
def hand_over() -> None:
    """Let the counters have what was gathered."""
    for counter, amount in _gathered.items():
        counter.inc(amount)
    _gathered.clear()


_requests = cache(metrics.requests.labels)
_attempts = cache(metrics.attempts.labels)
_first_token = cache(metrics.first_token.labels)
_tokens = cache(metrics.tokens.labels)
