"""The official `openai` client's files and batches, worked off by the platform's own worker."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types import Batch

from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.no_database

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")
WITHIN_S = 60.0


@pytest.fixture
def client(stack: Stack, tenant: Tenant) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=tenant.api_key, max_retries=0) as client:
        yield client


def _line(custom_id: str, text: str, model: str = MODEL) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body})


def _made(client: openai.OpenAI, *lines: str, **more: Any) -> Batch:
    file = client.files.create(file=("lines.jsonl", "\n".join(lines).encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h", **more)


def _ended(client: openai.OpenAI, batch: Batch) -> Batch:
    def found() -> Batch | None:
        now = client.batches.retrieve(batch.id)
        return now if now.status in ENDED else None

    ended: Batch = eventually(found, within_s=WITHIN_S, failing=lambda: client.batches.retrieve(batch.id))
    return ended


def test_a_batch_is_answered_line_by_line(
    client: openai.OpenAI, stack: Stack, tenant: Tenant, upstream: OpenAIUpstream
) -> None:
    wanted = {f"line-{number}": f"Say é and {number}." for number in range(30)}
    lines = [_line(name, text) for name, text in wanted.items()]
    made = _made(client, *lines, _line("unknown", "x", model="no-such-model"), metadata={"for": "tests"})
    assert (made.status, made.metadata, made.completion_window) == ("validating", {"for": "tests"}, "24h")
    batch = _ended(client, made)
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (31, 30, 1)
    assert batch.output_file_id is not None
    assert batch.error_file_id is not None
    output = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
    said = {one["custom_id"]: one["response"]["body"]["choices"][0]["message"]["content"] for one in output}
    assert said == {name: f"You said: {text}" for name, text in wanted.items()}
    [error] = [json.loads(line) for line in client.files.content(batch.error_file_id).text.splitlines()]
    assert (error["custom_id"], error["response"]["status_code"]) == ("unknown", 404)
    assert error["response"]["body"]["error"]["code"] == "model_not_found"
    records = stack.usage(tenant.api_key)
    assert {one["response"]["request_id"] for one in output} <= {record["request_id"] for record in records}
    assert batch.id in [one.id for one in client.batches.list()]


def test_a_batch_can_be_cancelled(client: openai.OpenAI) -> None:
    made = _made(client, *(_line(str(number), f"Say {number}.") for number in range(500)))
    client.batches.cancel(made.id)
    batch = _ended(client, made)
    assert batch.status == "cancelled"
    assert batch.cancelled_at is not None
    with pytest.raises(openai.ConflictError):
        client.batches.cancel(made.id)


def test_what_is_no_batch_fails_with_its_reason(client: openai.OpenAI) -> None:
    batch = _ended(client, _made(client, "these are", "no lines"))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [error.code for error in batch.errors.data] == ["invalid_input_file"]


def test_files_are_uploaded_listed_read_and_deleted(client: openai.OpenAI) -> None:
    content = b"x" * (5 * 1024 * 1024)
    made = [client.files.create(file=(f"{number}.jsonl", content), purpose="batch") for number in range(3)]
    assert [client.files.retrieve(file.id).bytes for file in made] == [len(content)] * 3
    assert client.files.content(made[0].id).content == content
    page = client.files.list(limit=2, purpose="batch", order="desc")
    assert [file.id for file in page.data] == [made[2].id, made[1].id]
    assert page.has_more
    everything = [file.id for file in client.files.list(limit=2, order="asc")]
    assert [name for name in everything if name in {file.id for file in made}] == [file.id for file in made]
    assert client.files.delete(made[0].id).deleted
    for use in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            use(made[0].id)


def test_another_key_of_the_same_company_finds_nothing(client: openai.OpenAI, stack: Stack, tenant: Tenant) -> None:
    made = _made(client, _line("a", "x"))
    other = stack.manage("create_api_key", tenant.slug, "--name", "other")["api_key"]
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=other, max_retries=0) as stranger:
        for use in (stranger.batches.retrieve, stranger.batches.cancel):
            with pytest.raises(openai.NotFoundError):
                use(made.id)
        with pytest.raises(openai.NotFoundError):
            stranger.files.content(made.input_file_id)
        with pytest.raises(openai.NotFoundError):
            stranger.batches.create(input_file_id=made.input_file_id, endpoint=CHAT, completion_window="24h")
        assert list(stranger.batches.list()) == []
        assert list(stranger.files.list()) == []
    assert _ended(client, made).status == "completed"
