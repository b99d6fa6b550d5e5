"""How long an answer may be: what the request says, else its route, else 4,096; less where money is short. The provider is told,
and so is the caller. The cap is no part of the cache's key."""

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from billing.models import Budget
from kernel.tenancy import tenant_scope
from providers.routes import forget_routes
from tests.providers.cache.conftest import House
from tests.support.asgi import Answer


def told(house: House, answer: Answer) -> tuple[str, int]:
    """The cap, as the caller and as the provider last heard it."""
    return answer.headers["x-parley-max-tokens"], house.upstream.records[-1].body["max_tokens"]


async def test_the_request_goes_before_what_is_usual(house: House) -> None:
    assert told(house, await house.ask("usual")) == ("4096", 4096)
    assert told(house, await house.ask("asked", max_tokens=17)) == ("17", 17)


async def test_a_route_says_what_is_usual_on_it(house: House) -> None:
    routes = await house.rest("GET", "routes")
    (route,) = [one for one in routes["data"] if one["alias"] == house.model]
    assert route["max_output_tokens"] is None
    changed = await house.rest("PATCH", f"routes/{route['id']}", {"max_output_tokens": 900})
    assert changed["max_output_tokens"] == 900
    forget_routes(house.company.id)
    assert told(house, await house.ask("usual")) == ("900", 900)
    await house.rest("PATCH", f"routes/{route['id']}", {"max_output_tokens": 0}, status=400)
    await house.rest("PATCH", f"routes/{route['id']}", {"max_output_tokens": None})
    forget_routes(house.company.id)
    assert told(house, await house.ask("usual again")) == ("4096", 4096)


@pytest.mark.parametrize("stream", [False, True])
async def test_where_money_is_short_the_cap_is_what_is_left(house: House, *, stream: bool) -> None:
    @sync_to_async
    def limit() -> None:
        with tenant_scope(house.company.id), transaction.atomic():
            Budget.objects.create(
                tenant_id=house.company.id,
                scope="tenant",
                measure="tokens",
                period="total",
                limit_amount=700,
                mode="hard",
            )

    await limit()
    answer = await house.ask("short", stream=stream)
    assert answer.status_code == 200
    said, sent = told(house, answer)
    assert 16 <= sent < 200
    assert said == str(sent)
    refused = await house.ask("x" * 700, stream=stream)
    assert (refused.status_code, refused.headers["x-should-retry"]) == (402, "false")
    assert refused.json()["error"]["code"] == "budget_exceeded"
    assert house.asked == 1
