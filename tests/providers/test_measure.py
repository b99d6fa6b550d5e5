"""What is counted of requests and attempts."""

from typing import Any

from asgiref.sync import sync_to_async

from kernel import metrics
from providers import measure
from tests.providers.test_limits import ask, limit, model
from tests.support.cast import Company

__all__ = ["model"]


def value(name: str, **labels: str) -> float:
    measure.hand_over()
    from prometheus_client import REGISTRY

    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_request_its_attempt_and_its_tokens_are_counted_once(company: Company, model: str) -> None:
    request = {"surface": "/v1/chat/completions", "status": "200", "cache": "bypass"}
    attempt = {"gen_ai_provider_name": "fake", "error_type": ""}
    output = {"gen_ai_provider_name": "fake", "gen_ai_token_type": "output"}

    def seen() -> tuple[float, ...]:
        return (
            sum(
                value("parley_requests_total", **(request | {"cache": cache}))
                for cache in ("bypass", "miss", "exact", "dedupe")
            ),
            value("gen_ai_client_operation_duration_seconds_count", **attempt),
            value("gen_ai_client_token_usage_total", **output),
        )

    before = seen()
    answer = await ask(company.api_key, model)
    used = answer.json()["usage"]["completion_tokens"]
    assert used > 0
    assert [now - then for now, then in zip(seen(), before, strict=True)] == [1, 1, used]


async def test_paths_that_clients_choose_are_no_labels(company: Company) -> None:
    await ask(company.api_key, "x" * 50)
    from config.asgi import application
    from tests.support.asgi import request

    before = value("parley_requests_total", surface="other", status="404", cache="")
    assert (await request(application, "GET", "/v1/whatever/they/like")).status_code == 404
    assert value("parley_requests_total", surface="other", status="404", cache="") == before + 1
    assert (await request(application, "GET", "/v1/models/some-name")).status_code == 401
    assert value("parley_requests_total", surface="/v1/models/{}", status="401", cache="") >= 1
    assert b"whatever" not in metrics.exposition()
    assert b"some-name" not in metrics.exposition()


async def test_refusals_are_counted_by_what_refused(company: Company, model: str) -> None:
    before = value("parley_rate_limited_total", subject="tenant", kind="requests")
    await sync_to_async(limit)(company, requests_per_minute=1)
    answers: list[Any] = [await ask(company.api_key, model) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert value("parley_rate_limited_total", subject="tenant", kind="requests") == before + 1
