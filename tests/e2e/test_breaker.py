"""A provider goes down and comes back: callers get answers all the while, and it is left alone until it works again.

Both deployments are a tenant's own. The first is at a provider of its own, so that what Parley comes to think of it is nothing
to other tests. Requests and looks go by one connection, to one of the two web processes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2 as httpx
import pytest
from aiohttp import web

from providers.pipeline.breaker import RULES
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.no_database

ALIAS = "ailing"
PRIMARY, FALLBACK = "first-model", "fake-model"
LOOKS = 5
"""Requests that must all go the same way."""
OPENS_S = 60.0
CLOSES_S = 90.0


class AilingUpstream(OpenAIUpstream):
    """An upstream that can be down altogether: it doesn't list its models then either."""

    is_down = False

    async def _models(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=503) if self.is_down else await super()._models(request)

    def go_down(self) -> None:
        self.is_down = True
        self.script(fault="500")

    def come_back(self) -> None:
        self.is_down = False
        self.forget_scripts()


@dataclass
class Caller:
    """Asks for the model as somebody who knows nothing of deployments, and looks as an admin."""

    http: httpx.Client
    key: str
    session: str
    seen: list[str] = field(default_factory=list)

    def ask(self) -> str:
        """The deployment that answered. Whatever happens there is an answer."""
        body = {"model": ALIAS, "messages": [{"role": "user", "content": "hello"}]}
        answer = self.http.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {self.key}"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"] == "You said: hello"
        model: str = answer.headers["x-parley-model"]
        return model

    def state(self) -> str:
        """The state of the first deployment's breaker."""
        cursor: str | None = ""
        while cursor is not None:
            page = self.http.get(
                "/api/v1/providers/status",
                params={"limit": 100} | ({"cursor": cursor} if cursor else {}),
                headers={"Authorization": f"Bearer {self.session}"},
            ).json()
            for deployment in page["data"]:
                if deployment["connection"] == ALIAS and not deployment["platform"]:
                    return str(deployment["breaker"])
            cursor = page["next_cursor"]
        raise AssertionError("the deployment isn't shown")

    def ask_and_look(self) -> tuple[str, str]:
        said = self.ask(), self.state()
        self.seen.append(said[1])
        return said


@pytest.fixture
def ailing() -> Iterator[AilingUpstream]:
    with AilingUpstream(api_key="upstream-secret") as running:
        yield running


@pytest.fixture
def caller(stack: Stack, tenant: Tenant, ailing: AilingUpstream, upstream: OpenAIUpstream) -> Iterator[Caller]:
    stack.add_models([f"{ALIAS}={PRIMARY}"], ailing.base_url, name=ALIAS, tenant=tenant.slug)
    stack.add_models([f"{ALIAS}={FALLBACK}"], upstream.base_url, name=f"{ALIAS}-fallback", tenant=tenant.slug)
    session = stack.sign_in(tenant.owner, tenant.password)["access"]
    with httpx.Client(base_url=stack.url, timeout=30, limits=httpx.Limits(max_connections=1)) as http:
        yield Caller(http, tenant.api_key, session)


def test_a_provider_that_goes_down_is_left_alone_and_taken_back_bit_by_bit(
    caller: Caller, ailing: AilingUpstream
) -> None:
    assert caller.ask_and_look() == (PRIMARY, "closed")
    ailing.go_down()
    ailing.records.clear()

    assert caller.ask() == FALLBACK
    while len(ailing.records) < RULES.failures:
        # A busy machine may leave no time for so many tries of one request.
        assert caller.state() == "closed"
        assert caller.ask() == FALLBACK
    assert len(ailing.records) == RULES.failures
    assert caller.state() == "open"

    def left_alone() -> bool:
        before, is_open = len(ailing.records), caller.state() == "open"
        assert {caller.ask() for _ in range(LOOKS)} == {FALLBACK}
        return is_open and caller.state() == "open" and len(ailing.records) == before

    eventually(left_alone, within_s=OPENS_S)

    ailing.come_back()
    answered: list[str] = []

    def closed_again() -> bool:
        model, state = caller.ask_and_look()
        answered.append(model)
        return state == "closed" and model == PRIMARY

    eventually(closed_again, within_s=CLOSES_S, failing=lambda: list(zip(answered, caller.seen[1:], strict=True)))
    gradual = [model for model, state in zip(answered, caller.seen[1:], strict=True) if state == "ramping"]
    assert {*gradual} == {PRIMARY, FALLBACK}, "some went to it before all did"
    quarter = len(gradual) // 4
    # By chance each, of about a fifth of the requests at first and nine tenths at last.
    assert gradual[:quarter].count(PRIMARY) < gradual[-quarter:].count(PRIMARY)
    assert {caller.ask() for _ in range(LOOKS)} == {PRIMARY}
