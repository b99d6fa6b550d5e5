"""A client that never reads is given up after a while: its request ends, its upstream is let go, and what was used is settled."""

import asyncio
import json
import secrets
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from billing.models import UsageRecord
from config.asgi import application
from providers.gateway import stalls
from providers.gateway.stalls import Sends, Stalled
from providers.pipeline.accept import factory
from providers.services.connections import Offer, add_provider
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.cast import Company
from tests.support.patience import soon

SLOW: dict[str, Any] = {"text": "word " * 100, "chunk": 5, "delay_ms": 20}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stalls, "WRITE_MAX_S", 0.05)
    monkeypatch.setattr(stalls, "LOOK_EVERY_S", 0.02)


class Unread:
    """A connection whose client asked and reads nothing but the head of the answer."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self.stalled = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self._body is None:
            await asyncio.Event().wait()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            self.stalled.set()
            await asyncio.Event().wait()


def _usage(company: Company) -> list[UsageRecord]:
    with company.scope(), transaction.atomic():
        return list(UsageRecord.objects.all())


async def test_a_stream_that_nobody_reads_ends_and_is_settled(company: Company, upstream: OpenAIUpstream) -> None:
    alias = f"slow-{secrets.token_hex(4)}"
    offer = Offer(
        kind="openai-compatible",
        name=alias,
        base_url=upstream.base_url,
        api_key="sk-upstream",
        models=((alias, "fake-model"),),
        input_nano_per_mtok=1_000_000_000,
        output_nano_per_mtok=2_000_000_000,
    )
    await sync_to_async(add_provider)(offer, tenant_slug=company.tenant.slug)
    upstream.script(**SLOW)
    messages = [{"role": "user", "content": "Hello"}]
    client = Unread(json.dumps({"model": alias, "stream": True, "messages": messages}).encode())
    headers = [(b"host", b"testserver"), (b"authorization", f"Bearer {company.api_key}".encode())]
    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/chat/completions",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 50000),
    }
    async with soon():
        await application(scope, client.receive, client.send)
    assert client.stalled.is_set()
    async with soon():
        while not (records := await sync_to_async(_usage)(company)):
            await asyncio.sleep(0.01)
    assert [record.status for record in records] == ["stopped"]
    assert records[0].output > 0
    async with soon():
        while upstream.in_flight:
            await asyncio.sleep(0.01)
    assert upstream.records[0].outcome == "disconnected"
    await factory().close()


@pytest.mark.no_database
async def test_who_reads_slowly_is_not_given_up_and_a_cancelled_send_stays_cancelled() -> None:
    sends = Sends()
    read = asyncio.Event()

    async def slow(message: dict[str, Any]) -> None:
        await read.wait()

    asyncio.get_running_loop().call_later(0.01, read.set)
    await sends.send(slow, {})
    read.clear()
    task = asyncio.ensure_future(sends.send(slow, {}))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(Stalled):
        await sends.send(slow, {})
    assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]
