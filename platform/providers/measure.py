"""What the gateway and the pipeline tell `kernel.metrics`. A request costs some microseconds of it (`bench/limits.py` says)."""

from functools import cache

from kernel import metrics
from kernel.lag import lag
from providers.limits.stage import limiter
from providers.pipeline.pumps import pumps
from providers.pipeline.values import Result


def request_answered(*, surface: str, status: int, cache_status: str) -> None:
    """One request to /v1 was answered; `surface` is its path as the routes spell it."""
    _requests(surface, status, cache_status).inc()


def result_settled(result: Result) -> None:
    """A job has ended: its attempts, and what they used."""
    for attempt in result.attempts:
        provider = attempt.candidate.target.provider
        _attempts(provider, attempt.error.code if attempt.error else "").observe(attempt.latency_ms / 1000)
        if attempt.ttft_ms is not None and result.job.request.stream:
            _first_token(provider).observe(attempt.ttft_ms / 1000)
        if attempt.usage.prompt:
            _tokens(provider, "input").inc(attempt.usage.prompt)
        if attempt.usage.completion:
            _tokens(provider, "output").inc(attempt.usage.completion)


@metrics.sample
def _sample() -> None:
    one = limiter()
    metrics.lag.set(lag().ewma_s)
    metrics.limits_local.set(int(one.is_local))
    metrics.limits_factor.set(one.overload.factor)
    metrics.running.set(len(pumps))


_requests = cache(lambda surface, status, cached: metrics.requests.labels(surface, status, cached))
_attempts = cache(metrics.attempts.labels)
_first_token = cache(metrics.first_token.labels)
_tokens = cache(metrics.tokens.labels)
