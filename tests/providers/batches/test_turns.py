"""Turns at a batch: one worker at a time, and the next goes on where the last one stopped, for whatever reason it did."""

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

from kernel.errors import RateLimited
from providers.batches import results, work
from providers.batches.answers import PutOff, answer_line
from providers.batches.models import Batch
from providers.batches.run import due_batches
from providers.batches.upkeep import delete_expired_files
from tenants.models import ApiKey
from tests.providers.batches.conftest import Caller, Said, change_batches, lines_left, usage_of
from tests.support.cast import Company


def _id(name: str) -> Any:
    return UUID(name.removeprefix("batch_"))


async def test_a_killed_worker_s_batch_goes_on_without_repeating_what_is_done(
    caller: Caller, said: Said, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.BATCH_LINES_AT_ONCE = 2
    texts = [f"text {number}" for number in range(9)]
    name = await caller.batch(caller.asking(*texts))
    kept: list[int] = []
    keep = results.keep
    hangs = asyncio.Event()

    async def keep_some(tenant_id: Any, batch_id: Any, owner: Any, some: Any) -> None:
        if len(kept) >= 4:
            hangs.set()
            await asyncio.Event().wait()
        await keep(tenant_id, batch_id, owner, some)
        kept.extend(one.number for one in some)

    with monkeypatch.context() as patch:
        patch.setattr(results, "keep", keep_some)
        killed = asyncio.create_task(caller.work(name))
        await asyncio.wait_for(hangs.wait(), 10)
        # Its lease keeps others away while it may be alive.
        assert not await caller.work(name)
        killed.cancel()
        await asyncio.wait({killed})
    assert (await caller.look(name))["status"] == "in_progress"
    assert not await caller.work(name)
    await change_batches(caller.company, lease_until=timezone.now() - timedelta(seconds=1))

    asked: list[str] = []

    async def watched(**given: Any) -> Any:
        asked.append(json.loads(given["body"])["messages"][0]["content"])
        return await answer_line(**given)

    monkeypatch.setattr(work, "answer_line", watched)
    assert await caller.work(name)
    batch = await caller.look(name)
    assert batch["request_counts"] == {"total": 9, "completed": 9, "failed": 0}
    assert set(asked) == set(texts) - {texts[number - 1] for number in kept}
    found = await caller.lines(batch["output_file_id"])
    assert [said(one) for one in found.values()] == [f"You said: {text}" for text in texts]
    # A line that was asked twice, its first answer lost, is billed once.
    usage = await usage_of(caller.company)
    assert sorted(usage) == sorted(one["response"]["request_id"] for one in found.values())


async def test_a_worker_that_lost_its_lease_writes_nothing(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    name = await caller.batch(caller.asking("a"))

    async def slow(**given: Any) -> Any:
        await change_batches(caller.company, lease_owner=caller.company.id)
        return await answer_line(**given)

    monkeypatch.setattr(work, "answer_line", slow)
    assert await caller.work(name)
    assert await lines_left(caller.company) == 0
    assert (await caller.look(name))["status"] == "in_progress"


async def test_a_turn_ends_and_the_next_goes_on_where_it_did(caller: Caller, settings: Any) -> None:
    settings.BATCH_LINES_AT_ONCE = 1
    settings.BATCH_TURN_S = 0.0
    name = await caller.batch(caller.asking("a", "b", "c"))
    assert await caller.work(name)
    assert (await caller.look(name))["request_counts"] == {"total": 3, "completed": 0, "failed": 0}
    assert (caller.company.id, _id(name)) in await sync_to_async(due_batches)()
    settings.BATCH_TURN_S = 20.0
    assert await caller.work(name)
    assert (await caller.look(name))["status"] == "completed"
    assert (caller.company.id, _id(name)) not in await sync_to_async(due_batches)()


async def test_a_worker_that_is_about_to_end_leaves_its_batch_to_others(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.BATCH_LINES_AT_ONCE = 1
    name = await caller.batch(caller.asking("a", "b", "c"))
    with monkeypatch.context() as patch:
        patch.setattr(work, "_ending", threading.Event())

        async def ending(**given: Any) -> Any:
            work.end_turns()
            return await answer_line(**given)

        patch.setattr(work, "answer_line", ending)
        assert await caller.work(name)
    # No lease keeps the next one waiting.
    assert (await caller.look(name))["request_counts"] == {"total": 3, "completed": 1, "failed": 0}
    assert await caller.work(name)
    assert (await caller.look(name))["request_counts"] == {"total": 3, "completed": 3, "failed": 0}


async def test_tenants_take_turns_however_many_batches_they_have(
    caller: Caller, new_company: Callable[[], Company]
) -> None:
    neighbour = await sync_to_async(new_company)()
    ours = [await caller.batch("{}") for _ in range(3)]
    theirs = await Caller(neighbour, neighbour.api_key, "none").batch("{}")
    due = await sync_to_async(due_batches)()
    ids = {_id(name) for name in (*ours, theirs)}
    assert [batch for _, batch in due if batch in ids] == [_id(name) for name in (ours[0], theirs, *ours[1:])]


async def test_a_line_that_limits_put_off_is_asked_again(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    monkeypatch.setattr(work, "WAIT_MAX_S", 0.0)
    refusals = [False] * (work.TRIES + 1)

    async def limited(**given: Any) -> Any:
        if refusals:
            raise PutOff(RateLimited("slowly"), used=refusals.pop())
        return await answer_line(**given)

    monkeypatch.setattr(work, "answer_line", limited)
    name = await caller.batch(caller.asking("a"))
    assert await caller.work(name)
    # After so many tries in a turn it is left to the next.
    assert (await caller.look(name))["request_counts"] == {"total": 1, "completed": 0, "failed": 0}
    assert await caller.work(name)
    assert (await caller.look(name))["request_counts"] == {"total": 1, "completed": 1, "failed": 0}


async def test_what_was_recorded_of_a_try_does_not_hide_the_next(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "WAIT_MAX_S", 0.0)
    ids = []

    async def limited(**given: Any) -> Any:
        ids.append(str(given["request_id"]))
        if len(ids) < 2:
            raise PutOff(RateLimited("the provider's"), used=True)
        return await answer_line(**given)

    monkeypatch.setattr(work, "answer_line", limited)
    name = await caller.batch(caller.asking("a"))
    assert await caller.work(name)
    found = await caller.lines((await caller.look(name))["output_file_id"])
    assert ids[0] != ids[1] == found["a"]["response"]["request_id"]
    assert await usage_of(caller.company) == [ids[1]]


@sync_to_async
def _revoke(company: Company) -> None:
    with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
        key = ApiKey.objects.get().id
    assert company.alice.client.delete(f"/api/v1/api-keys/{key}").status_code == 204


async def test_a_revoked_key_stops_its_batch(caller: Caller, monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.BATCH_LINES_AT_ONCE = 1
    name = await caller.batch(caller.asking("a", "b", "c"))

    async def revoking(**given: Any) -> Any:
        answer = await answer_line(**given)
        await _revoke(caller.company)
        monkeypatch.setattr(work, "answer_line", answer_line)
        return answer

    monkeypatch.setattr(work, "answer_line", revoking)
    assert await caller.work(name)
    with caller.company.scope():  # type: ignore[attr-defined]
        batch = await sync_to_async(_only_batch)()
    assert batch.status == "failed"
    assert batch.errors[0]["code"] == "not_authenticated"
    assert (batch.completed, batch.failed) == (1, 0)
    assert len(await usage_of(caller.company)) == 1


@sync_to_async
def _rotate(company: Company) -> str:
    """The text of a successor; the old key ends at once."""
    with company.scope(), transaction.atomic():  # type: ignore[attr-defined]
        key = ApiKey.objects.get(replaced_by=None).id
    answer = company.alice.client.post(f"/api/v1/api-keys/{key}/rotate", {"overlap_s": 0}, format="json")
    assert answer.status_code == 201
    return str(answer.json()["secret"])


async def test_a_rotated_keys_successor_goes_on_with_its_batch_and_has_its_files(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.BATCH_LINES_AT_ONCE = 1
    name = await caller.batch(caller.asking("a", "b", "c"))

    async def rotating(**given: Any) -> Any:
        answer = await answer_line(**given)
        monkeypatch.setattr(work, "answer_line", answer_line)
        # Twice: it is the first one's batch, and the last one's to go on with.
        await _rotate(caller.company)
        caller.key = await _rotate(caller.company)
        return answer

    monkeypatch.setattr(work, "answer_line", rotating)
    assert await caller.work(name)
    batch = await caller.look(name)
    assert (batch["status"], batch["request_counts"]) == ("completed", {"total": 3, "completed": 3, "failed": 0})
    assert set(await caller.lines(batch["output_file_id"])) == {"a", "b", "c"}
    assert [one["id"] for one in (await caller.call("GET", "batches")).json()["data"]] == [name]
    files = {one["id"] for one in (await caller.call("GET", "files")).json()["data"]}
    assert files == {batch["input_file_id"], batch["output_file_id"]}
    assert len(await usage_of(caller.company)) == 3
    # What the successor makes is one line's, too; another key of the same member sees none of it.
    more = await caller.batch(caller.asking("d"))
    caller.key = await _rotate(caller.company)
    assert (await caller.look(more))["status"] == "validating"
    await sync_to_async(delete_expired_files)()
    kept = await caller.call("GET", f"files/{batch['input_file_id']}")
    assert kept.json()["expires_at"] is None
    made = await sync_to_async(caller.company.alice.client.post)("/api/v1/api-keys", {"name": "other"}, format="json")
    caller.key = made.json()["secret"]
    assert (await caller.call("GET", f"batches/{name}")).status_code == 404
    assert (await caller.call("GET", "files")).json()["data"] == []


async def test_a_batch_whose_key_was_rotated_and_whose_successor_was_revoked_stops(caller: Caller) -> None:
    name = await caller.batch(caller.asking("a"))
    text = await _rotate(caller.company)

    @sync_to_async
    def revoke() -> None:
        with caller.company.scope(), transaction.atomic():  # type: ignore[attr-defined]
            key = ApiKey.objects.get(replaced_by=None).id
        assert caller.company.alice.client.delete(f"/api/v1/api-keys/{key}").status_code == 204

    caller.key = text
    assert (await caller.look(name))["status"] == "validating"
    await revoke()
    await caller.work(name)
    with caller.company.scope():  # type: ignore[attr-defined]
        assert (await sync_to_async(_only_batch)()).status == "failed"
    assert await usage_of(caller.company) == []


def _only_batch() -> Batch:
    with transaction.atomic():
        return Batch.objects.get()
