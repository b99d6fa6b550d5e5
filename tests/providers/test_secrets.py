"""A provider's key goes to its provider, and nowhere else: not to another host, not into a log, not into an answer."""

import asyncio
import base64
import itertools
import json
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog
from asgiref.sync import sync_to_async

from config.asgi import application
from providers import registry, routes
from providers.base import Adapter, Target, Timeouts
from providers.errors import HIDDEN, Misconfigured, ProviderError, Rejected
from providers.services.connections import Offer, add_provider
from providers.types import ChatRequest, EmbeddingRequest, user_message
from tests.isolation.test_mallory_gateway import GATEWAY_CALLS, GatewayCall
from tests.support.asgi import request
from tests.support.cast import Company

KEY = "sk-provider-5f3e9a7c1b2d4e6f"
QUICK = Timeouts(connect_s=2.0, first_token_s=1.0, between_tokens_s=1.0, total_s=2.0)
KINDS = [name for name in registry.names() if name != "fake"]
FORMATS = ("openai-compatible", "anthropic", "gemini", "cohere", "ollama")
"""One kind of each format."""


class Host:
    """Answers as its script says, given the whole request, and keeps what was sent to it."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.port = 0
        self.answer: Callable[[str], bytes] = lambda asked: reply(200, b"{}")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next((line[15:] for line in head.split("\r\n") if line.lower().startswith("content-length:")), "0")
            asked = head + (await reader.readexactly(int(length))).decode()
            self.requests.append(asked)
            writer.write(self.answer(asked))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.requests.append("gone")
        finally:
            writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def reply(status: int, body: bytes, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def echo(status: int) -> Callable[[str], bytes]:
    """Says back all it was told, key and all, where an error's words are."""

    def answer(asked: str) -> bytes:
        error = {"message": asked, "type": "x", "code": "x", "param": asked, "status": "INVALID_ARGUMENT"}
        body = json.dumps({"type": "error", "error": error, "message": asked, "detail": asked}).encode()
        return reply(status, body, Content_Type="application/json", X_Echo=base64.b64encode(asked.encode()).decode())

    return answer


async def started(host: Host) -> asyncio.Server:
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    host.port = server.sockets[0].getsockname()[1]
    return server


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    server = await started(host)
    yield host
    server.close()


@pytest.fixture
async def elsewhere() -> AsyncIterator[Host]:
    """Where nothing should ever come."""
    host = Host()
    server = await started(host)
    yield host
    server.close()


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """All that was logged at any level by anybody, with tracebacks."""
    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        monkeypatch.setattr(logging.getLogger(name), "disabled", False)
        if name.split(".")[0] in ("aiohttp", "asyncio", "providers", "kernel"):
            caplog.set_level(logging.DEBUG, logger=name)
    formatter = logging.Formatter("%(message)s %(args)s")
    with structlog.testing.capture_logs() as events:
        yield lambda: "\n".join([*map(formatter.format, caplog.records), *map(repr, events)])


@pytest.fixture
async def adapters() -> AsyncIterator[Callable[[str], Adapter]]:
    made: list[Adapter] = []

    def make(kind: str) -> Adapter:
        made.append(registry.get(kind).adapter())
        return made[-1]

    yield make
    for adapter in made:
        await adapter.close()


async def call(adapter: Adapter, target: Target, how: str) -> BaseException | None:
    """What an adapter's call comes to; None when it answered."""
    asked = ChatRequest(model="alias", messages=(user_message("hello"),), max_output_tokens=5, stream=how == "stream")
    try:
        if how == "stream":
            async for _ in adapter.stream(asked, target, QUICK):
                continue
        elif how == "models":
            await adapter.list_models(target, QUICK)
        elif how == "embed":
            await adapter.embed(EmbeddingRequest("alias", ("hello",)), target, QUICK)
        else:
            await adapter.complete(asked, target, QUICK)
    except ProviderError as error:
        return error
    return None


def all_words(error: BaseException | None) -> str:
    """An exception and its causes, with all that they hold."""
    found = ""
    while error is not None:
        found += f"{error} {error!r} {error.args!r}"
        found += repr({name: value for name, value in getattr(error, "__dict__", {}).items() if "request" not in name})
        error = error.__cause__ or error.__context__
    return found


every_call = pytest.mark.parametrize(
    ("kind", "how"), list(itertools.product(KINDS, ("complete", "stream", "models", "embed")))
)


@pytest.mark.no_database
@every_call
async def test_redirects_lead_the_key_nowhere(
    host: Host, elsewhere: Host, adapters: Callable[[str], Adapter], kind: str, how: str
) -> None:
    for status in (301, 302, 303, 307, 308):
        host.answer = lambda asked, status=status: reply(status, b"", Location=f"{elsewhere.url}/v1")  # type: ignore[misc]
        error = await call(adapters(kind), Target(kind, host.url, "m", KEY), how)
        assert isinstance(error, ProviderError)
        assert KEY not in all_words(error)
    assert elsewhere.requests == []


@pytest.mark.no_database
@every_call
async def test_an_error_holds_no_key_whatever_the_upstream_says(
    host: Host, adapters: Callable[[str], Adapter], written: Callable[[], str], kind: str, how: str
) -> None:
    for status in (200, 400, 401, 403, 404, 413, 422, 429, 500, 503, 529):
        host.answer = echo(status)
        error = await call(adapters(kind), Target(kind, host.url, "m", KEY), how)
        assert KEY not in all_words(error)
        if status == 401 and host.requests:
            assert isinstance(error, Misconfigured)
    for asked in host.requests:
        assert KEY not in asked.split("\r\n")[0], "an address is logged by everybody on the way"
    assert KEY not in written()


@pytest.mark.no_database
async def test_words_that_end_within_the_key_end_before_it() -> None:
    error = Rejected("x" * 490 + KEY)
    error.hide(KEY)
    assert KEY[:4] not in str(error)
    untouched = Rejected("the key is wrong")
    untouched.hide(KEY)
    assert "the key is wrong" in str(untouched)


@pytest.mark.no_database
async def test_failures_below_http_say_nothing_of_it(
    host: Host, adapters: Callable[[str], Adapter], written: Callable[[], str]
) -> None:
    garbage: list[Callable[[str], bytes]] = [
        lambda asked: b"",
        lambda asked: asked.encode(),
        lambda asked: b"HTTP/1.1 200 " + asked.encode().replace(b"\r\n", b" ")[:200] + b"\r\n\r\n",
        lambda asked: b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        lambda asked: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
        lambda asked: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz" + asked.encode(),
    ]
    target = Target("openai", host.url, "m", KEY)
    for answer, how in itertools.product(garbage, ("complete", "stream")):
        host.answer = answer
        error = await call(adapters("openai"), target, how)
        assert isinstance(error, ProviderError)
        assert KEY not in f"{error!r} {error.reason}"
    for base_url in (
        "http://127.0.0.1:1",
        f"https://127.0.0.1:{host.port}",
        "http://[::1]:1",
        "http://nowhere.invalid",
    ):
        error = await call(adapters("openai"), replace(target, base_url=base_url), "complete")
        assert isinstance(error, ProviderError)
        assert KEY not in all_words(error)
    assert KEY not in repr(target)
    assert KEY not in written()


def offered(host: Host, company: Company | None, alias: str = "", kind: str = "openai-compatible") -> str:
    alias = alias or f"model-{secrets.token_hex(6)}"
    add_provider(
        Offer(
            kind=kind,
            name=f"account-{secrets.token_hex(6)}",
            base_url=host.url,
            api_key=KEY,
            models=((alias, "internal-model-name"),),
            input_nano_per_mtok=0,
            output_nano_per_mtok=0,
        ),
        tenant_slug=company.tenant.slug if company else None,
    )
    routes._kept.forget_where(lambda _: True)
    return alias


async def posted(call: GatewayCall, alias: str, token: str) -> Any:
    body = call.body(alias) if call.body else None
    headers = {"Authorization": f"Bearer {token}"}
    return await request(application, call.method, call.path(alias), body=body, headers=headers, timeout_s=60)


asking = [call for call in GATEWAY_CALLS if call.body is not None]


@pytest.mark.parametrize("call", asking, ids=lambda call: call.name)
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("kind", FORMATS)
async def test_an_upstreams_401_is_never_the_callers(
    company: Company, host: Host, written: Callable[[], str], call: GatewayCall, status: int, kind: str
) -> None:
    alias = await sync_to_async(offered)(host, None, kind=kind)
    host.answer = echo(status)
    answer = await posted(call, alias, company.api_key)
    assert answer.status_code not in (401, 403)
    if host.requests:
        # Tokens that a provider won't count are estimated.
        estimated = "x-parley-estimated" in answer.headers
        assert answer.status_code == 502 or "error" in answer.text or estimated
        assert KEY in host.requests[0]
    assert KEY not in answer.text + str(answer.headers)
    assert "127.0.0.1" not in answer.text
    assert KEY not in written()


@pytest.mark.parametrize("call", asking, ids=lambda call: call.name)
@pytest.mark.parametrize("kind", FORMATS)
async def test_words_of_a_provider_that_reach_the_caller_hold_no_key(
    company: Company, host: Host, written: Callable[[], str], call: GatewayCall, kind: str
) -> None:
    alias = await sync_to_async(offered)(host, None, kind=kind)
    host.answer = echo(400)
    answer = await posted(call, alias, company.api_key)
    assert KEY not in answer.text + str(answer.headers)
    assert KEY not in written()


STREAMED: dict[str, tuple[str, ...]] = {
    "openai-compatible": (
        'data: {"choices": [{"index": 0, "delta": {"content": "you sent KEY, "}}]}\n\n',
        'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n',
    ),
    "anthropic": (
        'event: message_start\ndata: {"type": "message_start", "message": {"usage": {"input_tokens": 1}}}\n\n',
        'event: content_block_start\ndata: {"type": "content_block_start", "index": 0,'
        ' "content_block": {"type": "text", "text": ""}}\n\n',
        'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0,'
        ' "delta": {"type": "text_delta", "text": "you sent KEY, "}}\n\n',
        'event: content_block_stop\ndata: {"type": "content_block_stop", "index": 0}\n\n',
        'event: message_delta\ndata: {"type": "message_delta", "delta": {"stop_reason": "end_turn"},'
        ' "usage": {"output_tokens": 3}}\n\nevent: message_stop\ndata: {"type": "message_stop"}\n\n',
    ),
    "gemini": (
        'data: {"candidates": [{"content": {"role": "model", "parts": [{"text": "you sent KEY, "}]},'
        ' "finishReason": "STOP"}]}\n\n',
    ),
    "cohere": (
        'data: {"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}}\n\n',
        'data: {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "you sent KEY, "}}}}\n\n',
        'data: {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": {}}}\n\n',
    ),
    "ollama": (
        '{"message": {"role": "assistant", "content": "you sent KEY, "}, "done": false}\n',
        '{"message": {"role": "assistant", "content": ""}, "done": true, "done_reason": "stop"}\n',
    ),
}
"""An answer that says the key in its text."""


@pytest.mark.parametrize("kind", FORMATS)
async def test_a_streamed_answer_holds_no_key(
    company: Company, host: Host, written: Callable[[], str], kind: str
) -> None:
    alias = await sync_to_async(offered)(host, None, kind=kind)
    body = "".join(STREAMED[kind]).replace("KEY", KEY).encode()
    host.answer = lambda asked: reply(200, body, Content_Type="text/event-stream")
    answer = await request(
        application,
        "POST",
        "/v1/chat/completions",
        body={"model": alias, "messages": [{"role": "user", "content": "hello"}], "stream": True},
        headers={"Authorization": f"Bearer {company.api_key}"},
        timeout_s=60,
    )
    assert answer.status_code == 200, answer.text
    assert f"you sent {HIDDEN}, " in answer.text
    assert KEY not in answer.text
    assert KEY not in written()


async def test_how_an_operator_calls_its_accounts_is_not_for_tenants(company: Company, host: Host) -> None:
    alias = await sync_to_async(offered)(host, None)
    host.answer = echo(500)
    chat = next(call for call in asking if call.route == "/v1/chat/completions")
    answer = await posted(chat, alias, company.api_key)
    assert answer.status_code == 502
    assert "openai-compatible" in answer.text
    assert "account-" not in answer.text
    assert "internal-model-name" not in answer.text


async def test_a_connection_moved_takes_its_old_key_nowhere(
    company: Company, host: Host, elsewhere: Host, settings: Any
) -> None:
    settings.EGRESS_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    path = "/api/v1/connections"
    client = company.alice.client
    body = {"name": "own", "kind": "openai-compatible", "base_url": host.url, "secret": KEY}
    made = (await sync_to_async(client.post)(path, body, format="json")).json()
    there = f"{path}/{made['id']}"
    refused = await sync_to_async(client.patch)(there, {"base_url": elsewhere.url}, format="json")
    assert refused.status_code == 400
    moved = {"base_url": elsewhere.url, "secret": "sk-for-the-other"}
    assert (await sync_to_async(client.patch)(there, moved, format="json")).status_code == 200
    tested = await sync_to_async(client.post)(f"{there}/test", {"model": "m"}, format="json")
    assert tested.status_code == 200
    (asked,) = elsewhere.requests
    assert "sk-for-the-other" in asked
    assert KEY not in asked
    assert host.requests == []
