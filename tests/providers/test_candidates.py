"""A request goes to deployments that can do what it asks for, or is refused by the name of what they can't."""

import uuid

import pytest
from msgspec import Raw

from billing.types import Tariff
from providers.capabilities import needs
from providers.errors import NotSupported
from providers.pipeline.candidates import in_order
from providers.pipeline.health import health
from providers.profiles import Capability
from providers.routes import Group, ResolvedDeployment, ResolvedRoute
from providers.types import (
    ChatRequest,
    EmbeddingRequest,
    FunctionTool,
    ImagePart,
    Message,
    ResponseFormat,
    user_message,
)
from tests.providers.conftest import ask

pytestmark = pytest.mark.no_database


def deployment(model: str, *, provider: str = "openai-compatible") -> ResolvedDeployment:
    return ResolvedDeployment(
        id=uuid.uuid4(),
        provider=provider,
        connection="c",
        base_url="http://x",
        model=model,
        platform=False,
        tariff=Tariff(model, {}),
        secret=None,
    )


def route(*deployments: ResolvedDeployment, requires: tuple[Capability, ...] = ()) -> ResolvedRoute:
    return ResolvedRoute("a", "a", (Group("priority", deployments, requires),), deployments)


def models(resolved: ResolvedRoute, request: ChatRequest, *, lenient: bool = False) -> list[str]:
    return [one.model for one in in_order(resolved, request, region="", lenient=lenient)]


TOOLS = (FunctionTool("f"),)
PICTURE = (Message("user", (ImagePart("https://x/y.png"),)),)
ASKS: list[tuple[dict[str, object], Capability, str]] = [
    ({"tools": TOOLS}, "tools", "tools"),
    ({"response_format": ResponseFormat("json_object")}, "json_object", "response_format"),
    ({"response_format": ResponseFormat("json_schema", schema=Raw(b"{}"))}, "json_schema", "response_format"),
    ({"logprobs": True}, "logprobs", "logprobs"),
    ({"reasoning_effort": "high"}, "reasoning", "reasoning_effort"),
    ({"reasoning_budget": 100}, "reasoning", "reasoning_budget"),
    ({"seed": 0}, "seed", "seed"),
]


@pytest.mark.parametrize(
    ("fields", "capability", "param"), ASKS, ids=lambda one: str(one) if isinstance(one, str) else ""
)
def test_what_a_request_needs(fields: dict[str, object], capability: Capability, param: str) -> None:
    assert needs(ask(**fields)) == ((capability, param),)


def test_plain_text_and_embeddings_need_nothing() -> None:
    assert needs(ask(temperature=0.5, stop=("x",), response_format=ResponseFormat("text"))) == ()
    assert needs(EmbeddingRequest("m", ("x",))) == ()


def test_a_picture_needs_eyes() -> None:
    assert needs(ChatRequest("m", PICTURE)) == (("images", "messages"),)


def test_it_goes_to_those_that_can() -> None:
    both = route(deployment("deepseek-chat"), deployment("gpt-4o"))
    assert models(both, ask()) == ["deepseek-chat", "gpt-4o"]
    assert models(both, ChatRequest("m", PICTURE)) == ["gpt-4o"]


def test_where_none_can_it_is_refused_by_name() -> None:
    with pytest.raises(NotSupported, match="images") as refused:
        models(route(deployment("deepseek-chat"), deployment("smollm2-135m")), ChatRequest("m", PICTURE))
    assert refused.value.status == 400
    assert refused.value.details is not None
    assert refused.value.details["param"] == "messages"
    assert [attempt["deployment"] for attempt in refused.value.details["attempts"]] == [
        "c/deepseek-chat",
        "c/smollm2-135m",
    ]


def test_what_is_not_known_is_not_refused() -> None:
    assert models(route(deployment("who-knows")), ask(tools=TOOLS, seed=1, logprobs=True)) == ["who-knows"]


def test_of_a_model_that_is_not_known_the_provider_decides() -> None:
    with pytest.raises(NotSupported, match="images"):
        models(route(deployment("new", provider="deepseek")), ChatRequest("m", PICTURE))


def test_who_lets_parameters_be_dropped_is_not_refused_for_harmless_ones() -> None:
    only = route(deployment("gpt-4o"))
    with pytest.raises(NotSupported, match="reasoning"):
        models(only, ask(reasoning_effort="low"))
    assert models(only, ask(reasoning_effort="low"), lenient=True) == ["gpt-4o"]
    with pytest.raises(NotSupported, match="tools"):
        models(route(deployment("smollm2")), ask(tools=TOOLS), lenient=True)


def test_a_route_may_require_capabilities() -> None:
    asked = route(deployment("deepseek-chat"), deployment("gpt-4o"), requires=("images",))
    assert models(asked, ask()) == ["gpt-4o"]


def test_a_long_request_tries_the_roomy_ones_first() -> None:
    both = route(deployment("smollm2-135m"), deployment("gpt-4o"), deployment("who-knows"))
    assert models(both, ask("short")) == ["smollm2-135m", "gpt-4o", "who-knows"]
    assert models(both, ChatRequest("m", (user_message("x" * 40_000),))) == ["gpt-4o", "who-knows", "smollm2-135m"]


def test_fallbacks_come_after_the_routes_own_whatever_their_strategy() -> None:
    own = (deployment("a"), deployment("b"))
    fallback = (deployment("c"),)
    resolved = ResolvedRoute("x", "x", (Group("weighted", own), Group("weighted", fallback)), own + fallback)
    seen = {tuple(models(resolved, ask())) for _ in range(100)}
    assert seen == {("a", "b", "c"), ("b", "a", "c")}


def test_the_choice_looks_at_what_is_in_flight() -> None:
    busy, free = deployment("busy"), deployment("free")
    health.of(busy.id).in_flight = 3
    resolved = ResolvedRoute("x", "x", (Group("least_in_flight", (busy, free)),), (busy, free))
    assert models(resolved, ask()) == ["free", "busy"]
