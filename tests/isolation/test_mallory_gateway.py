"""The same matrix for /v1: alice's own models don't exist for mallory, and nothing answers without a credential."""

import re
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

Body = dict[str, Any] | bytes
Making = tuple[str, Callable[[str], Body]]
"""A path, and the body of a POST to it, given a name."""


@dataclass(frozen=True, slots=True)
class GatewayCall:
    """One method of one path of /v1. What names a model of the caller's is made of its alias; what names a thing that
    somebody made, of the id that the last of the POSTs in `makes` answers with; each of these names what the one before made."""

    method: str
    route: str
    path: Callable[[str], str]
    body: Callable[[str], Body] | None = None
    lists: bool = False
    makes: tuple["Making", ...] = ()
    echoes: bool = True
    """Whether the answer names the model."""
    names: bool = True
    """Whether the call names anything of somebody's."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.route}"


def _chat(alias: str, **more: Any) -> dict[str, Any]:
    return {"model": alias, "messages": [{"role": "user", "content": "hello"}], **more}


def _response(alias: str, **more: Any) -> dict[str, Any]:
    return {"model": alias, "input": "hello", **more}


def _upload(name: str) -> bytes:
    """A form with a file, as `FORM` announces it."""
    parts = (b'name="purpose"\r\n\r\nbatch', b'name="file"; filename="lines.jsonl"\r\n\r\n{}\n')
    return b"".join(b"--form\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--form--\r\n"


def _batch(name: str) -> dict[str, Any]:
    return {"input_file_id": name, "endpoint": "/v1/chat/completions", "completion_window": "24h"}


FORM = "multipart/form-data; boundary=form"
RESPONSE: tuple[Making, ...] = (("/v1/responses", _response),)
FILE: tuple[Making, ...] = (("/v1/files", _upload),)
BATCH: tuple[Making, ...] = (*FILE, ("/v1/batches", _batch))

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
    GatewayCall("POST", "/v1/files", lambda name: "/v1/files", _upload, echoes=False, names=False),
    GatewayCall("GET", "/v1/files", lambda name: "/v1/files", lists=True, makes=FILE),
    GatewayCall("GET", "/v1/files/{}", lambda name: f"/v1/files/{name}", makes=FILE),
    GatewayCall("GET", "/v1/files/{}/content", lambda name: f"/v1/files/{name}/content", makes=FILE, echoes=False),
    GatewayCall("DELETE", "/v1/files/{}", lambda name: f"/v1/files/{name}", makes=FILE),
    GatewayCall("POST", "/v1/batches", lambda name: "/v1/batches", _batch, makes=FILE),
    GatewayCall("GET", "/v1/batches", lambda name: "/v1/batches", lists=True, makes=BATCH),
    GatewayCall("GET", "/v1/batches/{}", lambda name: f"/v1/batches/{name}", makes=BATCH),
    GatewayCall("POST", "/v1/batches/{}/cancel", lambda name: f"/v1/batches/{name}/cancel", makes=BATCH),
)
naming = [call for call in GATEWAY_CALLS if call.names and not call.lists]
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
    body = call.body(alias) if call.body else None
    return await _send(call.method, call.path(alias), body, token)


async def _send(method: str, path: str, body: Body | None, token: str | None) -> Answer:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"Content-Type": FORM} if isinstance(body, bytes) else {}
    return await request(application, method, path, body=body, headers=headers)


async def named(call: GatewayCall, alias: str, token: str) -> str:
    """What the call is to name: the model, or a thing that this credential makes."""
    name = alias
    for path, body in call.makes:
        made = await _send("POST", path, body(name), token)
        assert made.status_code == 200, made.text
        name = made.json()["id"]
    return name


def nothing_like(name: str) -> str:
    """A name of the same form that nothing has."""
    kind, sign, rest = re.fullmatch(r"(?:(resp|batch|file)([-_]))?(.*)", name).groups()  # type: ignore[union-attr]
    return f"{kind}{sign}{secrets.token_hex(len(rest) // 2)}" if kind else f"none-{secrets.token_hex(4)}"


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
    if call.makes:
        # What a member made is not their company's.
        strangers.append(cast.ours.api_key)
    for credential in strangers:
        refused = await send(call, name, credential)
        assert refused.status_code == 404
        assert comparable(refused, name) == comparable(await send(call, nothing, credential), nothing)


@pytest.mark.parametrize("call", [call for call in GATEWAY_CALLS if call.lists], ids=lambda call: call.name)
async def test_mallorys_lists_are_her_own(cast: Cast, alias: str, call: GatewayCall) -> None:
    name = await named(call, alias, cast.ours.owner.access_token())
    strangers = [cast.theirs.owner.access_token(), cast.theirs.api_key]
    if call.makes:
        strangers.append(cast.ours.api_key)
    for credential in strangers:
        answer = await send(call, name, credential)
        assert answer.status_code == 200
        assert name not in answer.text


@every_call
async def test_nobody_gets_nothing(cast: Cast, alias: str, call: GatewayCall) -> None:
    for token in (None, "x.y.z", "sk-parley-000000000000_" + "0" * 38):
        assert (await send(call, alias, token)).status_code == 401


@every_call
@pytest.mark.parametrize("role", [role for role, has in BUILTIN_ROLES.items() if "models.use" not in has])
async def test_a_role_that_uses_no_models_is_refused(cast: Cast, alias: str, call: GatewayCall, role: str) -> None:
    assert (await send(call, alias, cast.by_role[role].access_token())).status_code == 403
