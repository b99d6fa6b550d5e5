"""Batches: every line is answered once, as its endpoint would have answered it, whatever happens to the workers."""

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.utils import timezone

from providers.batches import answers, leases, work
from providers.batches.answers import answer_line
from providers.batches.upkeep import delete_expired_files
from tests.providers.batches.conftest import CHAT, Caller, Said, change_batches, line, lines_left, usage_of
from tests.support.cast import Company


async def test_every_line_is_answered_as_its_endpoint_would(caller: Caller, said: Said) -> None:
    texts = [f"text {number}" for number in range(20)]
    name = await caller.batch(caller.asking(*texts))
    assert await caller.work(name)
    batch = await caller.look(name)
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 20, "completed": 20, "failed": 0}
    assert batch["error_file_id"] is None
    assert batch["created_at"] <= batch["in_progress_at"] <= batch["finalizing_at"] <= batch["completed_at"]
    assert batch["expires_at"] == batch["created_at"] + 86_400
    found = await caller.lines(batch["output_file_id"])
    assert {custom_id: said(one) for custom_id, one in found.items()} == {text: f"You said: {text}" for text in texts}
    assert list(found) == texts
    assert all(one["response"]["status_code"] == 200 and one["error"] is None for one in found.values())
    assert sorted(await usage_of(caller.company)) == sorted(one["response"]["request_id"] for one in found.values())
    assert await lines_left(caller.company) == 0
    assert not await caller.work(name)


async def test_what_is_wrong_with_a_line_is_said_of_that_line(caller: Caller, said: Said) -> None:
    good = caller.chat("hello")
    wrong = [
        line("method", good, method="GET"),
        line("url", good, url="/v1/embeddings"),
        line("body", "text"),
        line("stream", caller.chat("x", stream=True)),
        line("model", caller.chat("x") | {"model": "no-such-model"}),
        line("messages", {"model": caller.model}),
        line("good", caller.chat("again")),
        json.dumps({"method": "POST"}),
    ]
    name = await caller.batch("\n\n".join([line("good", good), *wrong]) + "\n{not json")
    assert await caller.work(name)
    batch = await caller.look(name)
    assert batch["status"] == "completed"
    assert batch["request_counts"] == {"total": 10, "completed": 1, "failed": 9}
    assert said((await caller.lines(batch["output_file_id"]))["good"]) == "You said: hello"
    content = (await caller.call("GET", f"files/{batch['error_file_id']}/content")).text
    errors = [json.loads(text) for text in content.splitlines()]
    refused = [(one["custom_id"], one["error"]["line"], one["error"]["param"]) for one in errors if one["error"]]
    assert refused == [
        ("method", 2, "method"),
        ("url", 3, "url"),
        ("body", 4, "body"),
        ("good", 8, "custom_id"),
        (None, 9, None),
        (None, 10, None),
    ]
    asked = {one["custom_id"]: one["response"] for one in errors if one["response"]}
    assert {custom_id: response["status_code"] for custom_id, response in asked.items()} == {
        "stream": 400,
        "model": 404,
        "messages": 400,
    }
    assert asked["model"]["body"]["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("content", ["", "\n\n", "just\nsome text", "[1]\n[2]", b"\x00\xff\xfe"])
async def test_a_file_that_is_no_batch_fails_as_a_whole(caller: Caller, content: str | bytes) -> None:
    name = await caller.batch(content)
    assert await caller.work(name)
    batch = await caller.look(name)
    assert batch["status"] == "failed"
    assert batch["failed_at"] is not None
    assert batch["errors"]["data"][0]["code"] == "invalid_input_file"
    assert batch["output_file_id"] is None


async def test_too_many_lines_fail_as_a_whole(caller: Caller, settings: Any) -> None:
    settings.BATCH_LINES_MAX = 3
    name = await caller.batch(caller.asking("a", "b", "c", "d"))
    assert await caller.work(name)
    batch = await caller.look(name)
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "invalid_input_file")
    assert await usage_of(caller.company) == []


async def test_a_line_that_is_too_long_is_not_read(caller: Caller, settings: Any) -> None:
    name = await caller.batch(caller.asking("short", "x" * 3_000, "after"))
    settings.V1_BODY_MAX_BYTES = 1_000
    assert await caller.work(name)
    batch = await caller.look(name)
    assert list(await caller.lines(batch["output_file_id"])) == ["short", "after"]
    [error] = (await caller.lines(batch["error_file_id"])).values()
    assert error["error"]["line"] == 2


async def test_a_line_that_breaks_something_is_an_error_of_that_line(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(**given: Any) -> Any:
        if b"bad" in given["body"]:
            raise RuntimeError("a bug")
        return await answer_line(**given)

    monkeypatch.setattr(work, "answer_line", broken)
    name = await caller.batch(caller.asking("a", "bad", "c"))
    assert await caller.work(name)
    batch = await caller.look(name)
    assert list(await caller.lines(batch["output_file_id"])) == ["a", "c"]
    [error] = (await caller.lines(batch["error_file_id"])).values()
    assert error["response"]["status_code"] == 500
    assert "a bug" not in json.dumps(error)


async def test_a_cancelled_batch_ends_with_what_it_has(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.BATCH_LINES_AT_ONCE = 1
    monkeypatch.setattr("providers.batches.run.RENEW_S", 0.01)
    noticed, renew = asyncio.Event(), leases.renew

    async def watched(batch: Any) -> None:
        await renew(batch)
        if batch.status == "cancelling":
            noticed.set()

    monkeypatch.setattr(leases, "renew", watched)
    name = await caller.batch(caller.asking("a", "b", "c"))

    async def cancelling(**given: Any) -> Any:
        answer = await answer_line(**given)
        cancelled = await caller.call("POST", f"batches/{name}/cancel")
        assert cancelled.json()["status"] == "cancelling"
        await asyncio.wait_for(noticed.wait(), 10)
        return answer

    monkeypatch.setattr(work, "answer_line", cancelling)
    assert await caller.work(name)
    batch = await caller.look(name)
    assert batch["status"] == "cancelled"
    assert batch["cancelling_at"] <= batch["cancelled_at"]
    assert batch["request_counts"] == {"total": 3, "completed": 1, "failed": 0}
    assert list(await caller.lines(batch["output_file_id"])) == ["a"]
    assert (await caller.call("POST", f"batches/{name}/cancel")).status_code == 409


async def test_results_are_kept_as_long_as_the_batch_says(caller: Caller) -> None:
    uploaded = (await caller.upload(caller.asking("a"))).json()["id"]
    body: dict[str, Any] = {"input_file_id": uploaded, "endpoint": CHAT, "completion_window": "24h"}
    made = await caller.call(
        "POST", "batches", body | {"output_expires_after": {"anchor": "created_at", "seconds": 3600}}
    )
    assert made.status_code == 200, made.text
    assert await caller.work(made.json()["id"])
    output = (await caller.look(made.json()["id"]))["output_file_id"]
    file = (await caller.call("GET", f"files/{output}")).json()
    assert file["expires_at"] == file["created_at"] + 3600
    for wrong in ({"anchor": "created_at", "seconds": 3599}, {"anchor": "last_active_at", "seconds": 3600}, 3600):
        refused = await caller.call("POST", "batches", body | {"output_expires_after": wrong})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "output_expires_after"


async def test_a_batch_expires_after_a_day_and_says_which_lines_are_missing(caller: Caller) -> None:
    name = await caller.batch(caller.asking("a", "b"))
    await change_batches(caller.company, expires_at=timezone.now(), status="in_progress", total=2)
    assert await caller.work(name)
    batch = await caller.look(name)
    assert batch["status"] == "expired"
    assert batch["request_counts"] == {"total": 2, "completed": 0, "failed": 2}
    errors = await caller.lines(batch["error_file_id"])
    assert {custom_id: one["error"]["code"] for custom_id, one in errors.items()} == {
        "a": "batch_expired",
        "b": "batch_expired",
    }
    assert await usage_of(caller.company) == []


async def test_lines_go_at_batch_priority_and_name_who_pays(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = []
    start = answers.run.start

    async def watched(job: Any) -> Any:
        jobs.append(job)
        return await start(job)

    monkeypatch.setattr(answers.run, "start", watched)
    name = await caller.batch(caller.asking("a"))
    assert await caller.work(name)
    [job] = jobs
    assert job.wishes.priority == "batch"
    assert job.payer.principal_kind == "api_key"
    assert job.payer.api_key_id is not None


@pytest.mark.parametrize(
    ("endpoint", "body", "has"),
    [
        ("/v1/completions", {"prompt": "Once"}, "choices"),
        ("/v1/embeddings", {"input": ["a", "b"]}, "data"),
        ("/v1/responses", {"input": "hello"}, "output"),
    ],
)
async def test_other_endpoints_answer_in_their_format(caller: Caller, endpoint: str, body: Any, has: str) -> None:
    name = await caller.batch(line("one", {"model": caller.model, **body}, url=endpoint), endpoint=endpoint)
    assert await caller.work(name)
    found = await caller.lines((await caller.look(name))["output_file_id"])
    assert found["one"]["response"]["body"][has]
    if endpoint == "/v1/responses":
        stored = await caller.call("GET", f"responses/{found['one']['response']['body']['id']}")
        assert stored.json() == found["one"]["response"]["body"]


async def test_a_deleted_input_fails_the_batch(caller: Caller) -> None:
    name = await caller.batch(caller.asking("a"))
    file = (await caller.look(name))["input_file_id"]
    assert (await caller.call("DELETE", f"files/{file}")).status_code == 200
    assert await caller.work(name)
    batch = await caller.look(name)
    assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "file_not_found")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"endpoint": "/v1/images"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        ({"input_file_id": 3}, "input_file_id"),
    ],
)
async def test_a_batch_that_can_t_be_is_refused_by_name(caller: Caller, change: Any, param: str) -> None:
    body = {"input_file_id": "file-x", "endpoint": CHAT, "completion_window": "24h"} | change
    refused = await caller.call("POST", "batches", body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param


async def test_a_tenant_has_so_many_batches_at_once(caller: Caller, settings: Any) -> None:
    settings.BATCHES_RUNNING_MAX = 1
    name = await caller.batch(caller.asking("a"))
    file = (await caller.look(name))["input_file_id"]
    body = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h", "metadata": {"of": "mine"}}
    assert (await caller.call("POST", "batches", body)).status_code == 429
    assert await caller.work(name)
    made = await caller.call("POST", "batches", body)
    assert made.json()["metadata"] == {"of": "mine"}
    listed = (await caller.call("GET", "batches")).json()
    assert [one["id"] for one in listed["data"]] == [made.json()["id"], name]


async def test_results_are_gone_after_their_time(caller: Caller) -> None:
    name = await caller.batch(caller.asking("a"))
    assert await caller.work(name)
    file = (await caller.look(name))["output_file_id"]
    known = (await caller.call("GET", f"files/{file}")).json()
    assert known["expires_at"] == known["created_at"] + 30 * 86_400
    assert known["purpose"] == "batch_output"
    await sync_to_async(_age)(caller.company)
    assert (await caller.call("GET", f"files/{file}")).status_code == 404
    assert await sync_to_async(delete_expired_files)() >= 1
    assert await sync_to_async(_held)(caller.company) == ["batch"]


def _age(company: Company) -> None:
    with company.scope(), transaction.atomic(), connections["default"].cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute("UPDATE providers_file SET expires_at = now() WHERE purpose = 'batch_output'")


def _held(company: Company) -> list[str]:
    with company.scope(), transaction.atomic(), connections["default"].cursor() as cursor:  # type: ignore[attr-defined]
        cursor.execute("SELECT purpose FROM providers_file")
        return [purpose for (purpose,) in cursor.fetchall()]
