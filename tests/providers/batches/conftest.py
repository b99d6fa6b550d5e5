"""What the tests of files and batches share: a company with a model, and its calls of /v1."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from billing.models import UsageRecord
from config.asgi import application
from providers.batches.forms import batch_id
from providers.batches.models import Batch, BatchLine
from providers.batches.run import take_turn
from providers.services.connections import Offer, add_provider
from tests.support.asgi import Answer, request
from tests.support.cast import Company

CHAT = "/v1/chat/completions"
Said = Callable[[dict[str, Any]], str]
"""The text of an answer in a file of results."""


def line(custom_id: object, body: object, *, url: str = CHAT, method: str = "POST") -> str:
    """A line of a batch."""
    return json.dumps({"custom_id": custom_id, "method": method, "url": url, "body": body})


@dataclass
class Caller:
    """A key, and the model that it may use."""

    company: Company
    key: str
    model: str

    def chat(self, text: str, **more: Any) -> dict[str, Any]:
        return {"model": self.model, "messages": [{"role": "user", "content": text}], **more}

    def asking(self, *texts: str) -> str:
        """Lines that ask for these texts, named by them."""
        return "\n".join(line(text, self.chat(text)) for text in texts) + "\n"

    async def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        headers = {"authorization": f"Bearer {self.key}"} | (headers or {})
        return await request(application, method, f"/v1/{path}", body=body, headers=headers)

    async def upload(
        self, content: str | bytes, *, fields: dict[str, str] | None = None, name: str = "in.jsonl"
    ) -> Answer:
        content = content.encode() if isinstance(content, str) else content
        said = {"purpose": "batch"} | (fields or {})
        parts = [f'name="{field}"\r\n\r\n{value}'.encode() for field, value in said.items()]
        parts.append(f'name="file"; filename="{name}"\r\n\r\n'.encode() + content)
        body = b"".join(b"--form\r\ncontent-disposition: form-data; " + part + b"\r\n" for part in parts)
        kind = {"content-type": "multipart/form-data; boundary=form"}
        return await self.call("POST", "files", body + b"--form--\r\n", kind)

    async def batch(self, content: str | bytes, *, endpoint: str = CHAT) -> str:
        """A new batch of these lines."""
        uploaded = await self.upload(content)
        assert uploaded.status_code == 200, uploaded.text
        body = {"input_file_id": uploaded.json()["id"], "endpoint": endpoint, "completion_window": "24h"}
        made = await self.call("POST", "batches", body)
        assert made.status_code == 200, made.text
        assert made.json()["status"] == "validating"
        name: str = made.json()["id"]
        return name

    async def work(self, name: str) -> bool:
        """A worker's turn."""
        found = batch_id(name)
        assert isinstance(found, UUID)
        return await take_turn(self.company.id, found)

    async def look(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.call("GET", f"batches/{name}")).json()
        return found

    async def lines(self, file: str | None) -> dict[str | None, dict[str, Any]]:
        """What is in a file of results, by the lines' names."""
        if file is None:
            return {}
        content = await self.call("GET", f"files/{file}/content")
        assert content.status_code == 200
        found = [json.loads(text) for text in content.text.splitlines()]
        assert len({one["custom_id"] for one in found}) == len(found)
        return {one["custom_id"]: one for one in found}


@pytest.fixture
async def caller(company: Company) -> Caller:
    model = f"echo-{secrets.token_hex(4)}"
    offer = Offer("fake", model, "http://127.0.0.1:9", "", ((model, "echo"),), 1_000_000, 2_000_000)
    await sync_to_async(add_provider)(offer, tenant_slug=company.tenant.slug)
    return Caller(company, company.api_key, model)


@pytest.fixture
def said() -> Said:
    """The text of a line's answer."""
    return lambda found: found["response"]["body"]["choices"][0]["message"]["content"]


@sync_to_async
def change_batches(company: Company, **changes: Any) -> None:
    """Change the company's batches behind everybody's back."""
    with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
        Batch.objects.update(**changes)


@sync_to_async
def usage_of(company: Company) -> list[str]:
    """The request ids on the company's bill."""
    with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
        return [str(record.request_id) for record in UsageRecord.objects.all()]


@sync_to_async
def lines_left(company: Company) -> int:
    """How many results are not in a file yet."""
    with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
        return BatchLine.objects.count()
