"""A company with one model at the fake upstream, asked through the gateway's own app."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from billing.models import UsageRecord
from config.asgi import application
from kernel.redis import async_redis
from providers.cache.known import known_keys
from providers.cache.memory import memory
from providers.cache.shared import redis_key
from providers.cache.stats import stats
from providers.cache.writes import writes
from providers.pipeline.accept import factory
from providers.services.connections import Offer, add_provider
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.asgi import Answer, request
from tests.support.cast import Company
from tests.support.patience import soon


@dataclass
class House:
    """The company, its model, and what the model's provider was asked."""

    company: Company
    upstream: OpenAIUpstream
    model: str = field(default_factory=lambda: f"model-{secrets.token_hex(4)}")

    @property
    def asked(self) -> int:
        """How often the provider was asked."""
        return len(self.upstream.records)

    async def ask(
        self,
        prompt: str = "Hello",
        *,
        credential: str | None = None,
        headers: dict[str, str] | None = None,
        **body: Any,
    ) -> Answer:
        """One chat completion, at temperature 0 unless told otherwise (None leaves it out)."""
        asked = {"model": self.model, "messages": [{"role": "user", "content": prompt}], "temperature": 0} | body
        asked = {name: value for name, value in asked.items() if value is not None}
        given = {"authorization": f"Bearer {credential or self.company.api_key}"} | (headers or {})
        return await request(application, "POST", "/v1/chat/completions", body=asked, headers=given)

    async def rest(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """One call of the REST API as the owner."""

        def call() -> Any:
            client = self.company.alice.client
            answer = getattr(client, method.lower())(f"/api/v1/{path}", body, format="json")
            assert answer.status_code == status, answer.content
            return answer.json() if answer.content else None

        return await sync_to_async(call)()

    async def usage(self, count: int) -> list[UsageRecord]:
        """The company's usage records, oldest first, once there are `count`."""

        def read() -> list[UsageRecord]:
            with self.company.scope(), transaction.atomic():
                return list(UsageRecord.objects.order_by("request_id"))

        async with soon():
            while len(records := await sync_to_async(read)()) < count:
                await asyncio.sleep(0.01)
        assert len(records) == count
        return records

    async def written(self) -> None:
        """Until what is on its way to the stores has arrived."""
        await writes().flush()
        await stats().flush()

    async def forget_redis(self) -> None:
        """Redis loses what it keeps of the company's answers."""
        redis = async_redis()
        found = [key async for key in redis.scan_iter(redis_key(self.company.id, b"") + "*")]
        assert found, "nothing was there to be lost"
        await redis.delete(*found)

    def restart(self) -> None:
        """Lose what a process keeps in memory."""
        memory().clear()
        known_keys.pop()


@pytest.fixture
async def open_house(upstream: OpenAIUpstream) -> AsyncIterator[Callable[[Company], House]]:
    """Makes a house of a company."""

    def make(company: Company) -> House:
        house = House(company, upstream)
        offer = Offer(
            kind="openai-compatible",
            name=house.model,
            base_url=upstream.base_url,
            api_key="sk-upstream",
            models=((house.model, "fake-model"),),
            input_nano_per_mtok=1_000_000_000,
            output_nano_per_mtok=2_000_000_000,
        )
        add_provider(offer, tenant_slug=company.tenant.slug)
        return house

    yield sync_to_async(make)  # type: ignore[misc]
    await factory().close()


@pytest.fixture
async def house(open_house: Any, company: Company) -> House:
    """The company of the test."""
    made: House = await open_house(company)
    return made


def text_of(answer: Answer) -> str:
    """What a plain or streamed chat completion says."""
    assert answer.status_code == 200, answer.text
    if not answer.headers["content-type"].startswith("text/event-stream"):
        said: str = answer.json()["choices"][0]["message"]["content"]
        return said
    chunks = [
        json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: {")
    ]
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])
