"""The same matrix for /v1: alice's own models don't exist for mallory, and nothing answers without a credential."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from config.asgi import application
from providers.gateway.app import ROUTES
from providers.services.connections import Offer, add_provider
from tenants.permissions import BUILTIN_ROLES
from tests.isolation.conftest import Cast
from tests.support.asgi import Answer, request


@dataclass(frozen=True, slots=True)
class GatewayCall:
    """One method of one path of /v1. What names a model of the caller's is made of its alias; what names a thing that
    somebody made, of the id that a POST to `makes` (its path and, of an alias, its body) answers with."""

    method: str
    route: str
    path: Callable[[str], str]
    body: Callable[[str], dict[str, Any]] | None = None
    lists: bool = False
    makes: tuple[str, Callable[[str], dict[str, Any]]] | None = None
    echoes: bool = True
    """Whether the answer names the model."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.route}"


def _chat(alias: str, **more: Any) -> dict[str, Any]:
    return {"model": alias, "messages": [{"role": "user", "content": "hello"}], **more}


def _response(alias: str, **more: Any) -> dict[str, Any]:
    return {"model": alias, "input": "hello", **more}


RESPONSE = ("/v1/responses", _response)

GATEWAY_CALLS = (
    GatewayCall("POST", "/v1/chat/completions", lambda alias: "/v1/chat/completions", _chat),
    GatewayCall(
        "POST", "/v1/chat/completions", lambda alias: "/v1/chat/completions", lambda alias: _chat(alias, stream=True)
    ),
    GatewayCall("POST", "/v1/messages", lambda alias: "/v1/messages", lambda alias: _chat(alias, max_tokens=9)),
    GatewayCall(
        "POST",
        "/v1/messages",
        lambda alias: "/v1/messages",
        lambda alias: _chat(alias, max_tokens=9, stream=True),
    ),
    GatewayCall("POST", "/v1/messages/count_tokens", lambda alias: "/v1/messages/count_tokens", _chat, echoes=False),
    GatewayCall(
        "POST", "/v1/completions", lambda alias: "/v1/completions", lambda alias: {"model": alias, "prompt": "Once"}
    ),
    GatewayCall(
        "POST", "/v1/embeddings", lambda alias: "/v1/embeddings", lambda alias: {"model": alias, "input": "hello"}
    ),
    GatewayCall("POST", "/v1/responses", lambda alias: "/v1/responses", _response),
    GatewayCall(
        "POST", "/v1/responses", lambda alias: "/v1/responses", lambda alias: _response(alias, stream=True, store=False)
    ),
    GatewayCall("GET", "/v1/responses/{}", lambda name: f"/v1/responses/{name}", makes=RESPONSE),
    GatewayCall("DELETE", "/v1/responses/{}", lambda name: f"/v1/responses/{name}", makes=RESPONSE),
    GatewayCall(
        "GET", "/v1/responses/{}/input_items", lambda name: f"/v1/responses/{name}/input_items", makes=RESPONSE
    ),
    GatewayCall("GET", "/v1/models", lambda alias: "/v1/models", lists=True),
    GatewayCall("GET", "/v1/models/{}", lambda alias: f"/v1/models/{alias}"),
)
naming = [call for call in GATEWAY_CALLS if not call.lists]
every_call = pytest.mark.parametrize("call", GATEWAY_CALLS, ids=lambda call: call.name)


@pytest.fixture(scope="session")
def alias(cast: Cast) -> str:
    """A model that only alice's company has."""
    name = f"ours-{secrets.token_hex(4)}"
    offer = Offer(
        kind="fake",
        name=name,
        base_url="http://127.0.0.1:9",
        api_key="",
        models=((name, "echo"),),
        input_nano_per_mtok=0,
        output_nano_per_mtok=0,
    )
    add_provider(offer, tenant_slug=cast.ours.tenant.slug)
    return name


async def send(call: GatewayCall, alias: str, token: str | None) -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = call.body(alias) if call.body else None
    return await request(application, call.method, call.path(alias), body=body, headers=headers)


async def named(call: GatewayCall, alias: str, token: str) -> str:
    """What the call is to name: the model, or a thing that this credential makes."""
    if call.makes is None:
        return alias
    path, body = call.makes
    made = await request(application, "POST", path, body=body(alias), headers={"Authorization": f"Bearer {token}"})
    assert made.status_code == 200, made.text
    name: str = made.json()["id"]
    return name


def nothing_like(name: str) -> str:
    """A name of the same form that nothing has."""
    kind, _, rest = name.rpartition("_")
    return f"{kind}_{secrets.token_hex(len(rest) // 2)}" if kind else f"none-{secrets.token_hex(4)}"


def comparable(response: Answer, alias: str) -> tuple[object, ...]:
    headers = {name: value for name, value in response.headers.items() if name not in ("x-request-id", "request-id")}
    request_id = response.headers["x-request-id"]
    return response.status_code, response.text.replace(alias, "MODEL").replace(request_id, ""), headers


def test_every_route_has_an_example_call() -> None:
    served = {f"{method} {path}" for path, methods in ROUTES.items() for method in methods}
    assert {call.name for call in GATEWAY_CALLS} == served


@every_call
async def test_alice_succeeds(cast: Cast, alias: str, call: GatewayCall) -> None:
    for credential in (cast.ours.owner.access_token(), cast.ours.api_key):
        name = await named(call, alias, credential)
        answer = await send(call, name, credential)
        assert answer.status_code == 200, answer.text
        # The names of a thing's parts hold the end of its own.
        assert name.rpartition("_")[2] in answer.text or not call.echoes


@pytest.mark.parametrize("call", naming, ids=lambda call: call.name)
async def test_mallory_finds_nothing(cast: Cast, alias: str, call: GatewayCall) -> None:
    name = await named(call, alias, cast.ours.owner.access_token())
    nothing = nothing_like(name)
    strangers = [cast.theirs.owner.access_token(), cast.theirs.api_key]
    if call.makes is not None:
        # What a member made is not their company's.
        strangers.append(cast.ours.api_key)
    for credential in strangers:
        refused = await send(call, name, credential)
        assert refused.status_code == 404
        assert comparable(refused, name) == comparable(await send(call, nothing, credential), nothing)


async def test_mallorys_models_are_her_own(cast: Cast, alias: str) -> None:
    listing = next(call for call in GATEWAY_CALLS if call.lists)
    answer = await send(listing, alias, cast.theirs.owner.access_token())
    assert answer.status_code == 200
    assert alias not in answer.text


@every_call
async def test_nobody_gets_nothing(cast: Cast, alias: str, call: GatewayCall) -> None:
    for token in (None, "x.y.z", "sk-parley-000000000000_" + "0" * 38):
        assert (await send(call, alias, token)).status_code == 401


@every_call
@pytest.mark.parametrize("role", [role for role, has in BUILTIN_ROLES.items() if "models.use" not in has])
async def test_a_role_that_uses_no_models_is_refused(cast: Cast, alias: str, call: GatewayCall, role: str) -> None:
    assert (await send(call, alias, cast.by_role[role].access_token())).status_code == 403
