"""How entries come to an end, how they are looked after, and what is told of them."""

import asyncio
import csv
import io
import json
import uuid
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.utils import timezone

from config.ops import operators
from kernel import adb
from kernel.ids import uuid7
from kernel.redis import async_redis
from providers.cache import namespaces
from providers.cache.semantic import lookups, storage, support
from providers.cache.semantic.entries import question_of_cell
from providers.cache.semantic.index import INDEX
from providers.cache.semantic.models import SemanticCalibration, SemanticEntry, SemanticUse
from providers.cache.semantic.uses import served_key
from providers.cache.semantic.vectors import as_vector, from_reals
from providers.cache.upkeep import delete_expired
from providers.models import RequestLog
from providers.semantic.embedders.fake import Fake
from providers.services.semantic import report_wrong_answer
from tests.providers.cache.conftest import House, text_of
from tests.providers.cache.semantic.conftest import VERSION, by_cosine, entries, switch_on
from tests.providers.cache.semantic.test_alike import ALIKE, ASKED, OTHER, Written
from tests.support.asgi import request
from tests.support.patience import soon


async def kept(house: House) -> list[SemanticEntry]:
    """What is kept of the house."""
    return await sync_to_async(entries)(house.company)


async def hits(house: House) -> bool:
    """Whether the question in other words is answered from the cache."""
    answer = await house.ask(ALIKE)
    return answer.headers["x-parley-cache"] == "semantic"


@pytest.fixture
async def warm(alike: House, written: Written, settings: Any) -> House:
    """The house with one entry."""
    settings.DEDUPE_WINDOW_S = 0
    alike.upstream.script(text="Paris.")
    await alike.ask(ASKED)
    await written()
    return alike


@pytest.mark.parametrize("wanted", [{"all": True}, {"model": ""}, {"prefix": "what IS  the capital"}])
async def test_what_is_invalidated_is_served_no_more(warm: House, wanted: dict[str, Any]) -> None:
    assert await hits(warm)
    body = {"model": warm.model} if "model" in wanted else wanted
    assert (await warm.rest("POST", "cache/invalidate", body))["deleted"] >= 1
    assert await kept(warm) == []
    assert (await warm.ask(ASKED)).headers["x-parley-cache"] == "miss"


async def test_another_prefix_or_model_is_left_alone(warm: House) -> None:
    await warm.rest("POST", "cache/invalidate", {"prefix": "the capital"})
    await warm.rest("POST", "cache/invalidate", {"model": "another"})
    assert await hits(warm)
    await warm.rest("POST", "cache/invalidate", {"prefix": " "}, status=400)
    await warm.rest("POST", "cache/invalidate", {"prefix": "a", "all": True}, status=400)


async def test_a_deleted_entry_is_gone_from_the_exact_cache_too(warm: House) -> None:
    (entry,) = await kept(warm)
    await warm.rest("DELETE", f"cache/entries/{entry.id}", status=204)
    assert await kept(warm) == []
    assert (await warm.ask(ASKED)).headers["x-parley-cache"] == "miss"
    await warm.rest("DELETE", f"cache/entries/{entry.id}", status=404)


async def test_a_thumbs_down_evicts(warm: House, written: Written) -> None:
    entry_id = (await warm.ask(ALIKE)).headers["x-parley-cache-entry"]
    await warm.rest("POST", f"cache/entries/{entry_id}/wrong", status=204)
    assert not await hits(warm)
    was = next(one for one in await kept(warm) if str(one.id) == entry_id)
    assert (was.wrong, was.size, bytes(was.body), bytes(was.question)) == (1, 0, b"", b"")
    await warm.rest("POST", f"cache/entries/{entry_id}/wrong", status=404)
    await written()
    assert (await warm.rest("GET", "cache/stats"))["semantic_reports"] == 1


async def test_what_was_called_wrong_twice_is_not_kept_again(warm: House, written: Written) -> None:
    for _ in range(storage.MAX_WRONG):
        (entry,) = [one for one in await kept(warm) if one.size]
        await warm.rest("POST", f"cache/entries/{entry.id}/wrong", status=204)
        await warm.ask(ASKED, headers={"cache-control": "no-cache"})
        await written()
    assert [(one.wrong, one.size) for one in await kept(warm)] == [(2, 0)]


async def test_a_rooms_answer_is_found_by_its_request(warm: House, written: Written) -> None:
    (entry,) = await kept(warm)
    request_id = uuid7()
    await async_redis().set(served_key(warm.company.id, request_id), entry.id.bytes, ex=60)

    def thumbs_down(asked: uuid.UUID) -> bool:
        with warm.company.scope(), transaction.atomic():
            return report_wrong_answer(asked)

    assert await sync_to_async(thumbs_down)(request_id)
    assert not await sync_to_async(thumbs_down)(request_id)
    assert not await sync_to_async(thumbs_down)(uuid7())
    assert not await hits(warm)


async def test_entries_expire(warm: House) -> None:
    (entry,) = await kept(warm)
    left_s = (entry.expires_at - timezone.now()).total_seconds()
    assert 0.89 * 86_400 < left_s <= 86_400

    def age() -> int:
        with warm.company.scope(), transaction.atomic():
            SemanticEntry.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        return delete_expired()

    assert await sync_to_async(age)() >= 1
    assert await kept(warm) == []
    assert not await hits(warm)


async def test_uses_are_counted_and_statistics_tell_exact_and_semantic_hits_apart(
    warm: House, written: Written
) -> None:
    await warm.ask(ALIKE)
    await warm.ask(f"{ALIKE} ")
    await warm.ask(ASKED)
    await written()

    def used() -> list[SemanticUse]:
        with warm.company.scope(), transaction.atomic():
            return list(SemanticUse.objects.all())

    (use,) = await sync_to_async(used)()
    assert use.hits == 2
    stats = await warm.rest("GET", "cache/stats")
    assert (stats["hits_semantic"], stats["hits_memory"]) == (2, 1)
    (paid, *_) = await warm.usage(4)
    assert stats["saved_nano"] == 3 * paid.sell_nano > 0
    assert stats["saved_output_tokens"] == 3 * paid.output
    assert stats["semantic_lookups"] == 3
    assert stats["semantic_lookup_us"] > 0
    (listed,) = (await warm.rest("GET", "cache/semantic/entries"))["data"]
    assert (listed["hits"], listed["confirmed"], listed["cost_nano"]) == (2, False, paid.sell_nano)


async def test_what_is_worth_least_goes_first(warm: House, written: Written) -> None:
    """Of two entries used at the same time, the cheap one; of two that cost the same, the one not used for longer."""
    for number in range(3):
        await warm.ask(f"{OTHER} number{number} " * (number + 1))
        await written()
    rows = await kept(warm)

    def settle() -> None:
        with warm.company.scope(), transaction.atomic():
            now = timezone.now()
            for row, cost, age_s in zip(rows, (10_000_000, 0, 10_000_000, 0), (0, 0, 90_000, 90_000), strict=True):
                SemanticEntry.objects.filter(id=row.id).update(
                    cost_nano=cost, created_at=now - timedelta(seconds=age_s)
                )

    await sync_to_async(settle)()
    for expected in ([0, 1, 2], [0, 1], [0]):
        async with adb.transaction(warm.company.id) as connection:
            assert await storage.trim(connection, len(expected)) == 1
        assert {row.id for row in await kept(warm)} == {rows[index].id for index in expected}


@pytest.mark.parametrize("form", ["json", "csv"])
async def test_entries_are_exported_with_their_texts_where_they_are_shared(
    warm: House, written: Written, form: str
) -> None:
    await sync_to_async(switch_on)(warm.company, sharing="principal")
    await warm.ask(OTHER)
    await written()

    def read() -> list[dict[str, Any]]:
        answer = warm.company.alice.client.get(f"/api/v1/cache/semantic/export?form={form}")
        assert answer.status_code == 200
        text = b"".join(answer.streaming_content).decode()
        if form == "csv":
            return list(csv.DictReader(io.StringIO(text)))
        return [json.loads(line) for line in text.splitlines()]

    shared, own = await sync_to_async(read)()
    assert (shared["question"], shared["answer"]) == (ASKED, "Paris.")
    assert not own["question"]
    assert not own["answer"]
    assert own["model"] == warm.model


async def test_past_traffic_becomes_entries(house: House, written: Written) -> None:
    await house.rest("PATCH", "guardrails", {"capture": True, "capture_days": 7})
    house.upstream.script(text="Paris.")
    await house.ask(ASKED)
    await house.ask("How old is he?")
    await house.rest("POST", "cache/semantic/warm-up", {"limit": 10}, status=400)
    await sync_to_async(switch_on)(house.company)
    async with soon():
        while not (await house.rest("POST", "cache/semantic/warm-up", {"limit": 10}))["warmed"]:
            await asyncio.sleep(0.05)
    assert len(await kept(house)) == 1
    hit = await house.ask(ALIKE)
    assert (hit.headers["x-parley-cache"], text_of(hit)) == ("semantic", "Paris.")


async def captured(house: House, count: int) -> None:
    """Wait until what was asked is in the log, contents and all."""

    def logged() -> int:
        with house.company.scope(), transaction.atomic():
            return RequestLog.objects.filter(content__isnull=False).count()

    async with soon():
        while await sync_to_async(logged)() < count:
            await asyncio.sleep(0.05)


async def test_past_traffic_takes_the_place_of_no_newer_answer(alike: House, written: Written, settings: Any) -> None:
    settings.DEDUPE_WINDOW_S = 0
    await alike.rest("PATCH", "guardrails", {"capture": True, "capture_days": 7})
    for text in ("Bonn.", "Berlin."):
        alike.upstream.script(text=text)
        await alike.ask(ASKED, headers={"cache-control": "no-cache"})
        await written()
    await captured(alike, 2)
    alike.upstream.script(text="Elsewhere.")
    (newest,) = await kept(alike)
    assert (await alike.rest("POST", "cache/semantic/warm-up", {"limit": 10}))["warmed"] == 0
    assert [one.id for one in await kept(alike)] == [newest.id]
    assert text_of(await alike.ask(ALIKE)) == "Berlin."
    await alike.rest("DELETE", f"cache/entries/{newest.id}", status=204)
    assert (await alike.rest("POST", "cache/semantic/warm-up", {"limit": 10}))["warmed"] == 1
    assert text_of(await alike.ask(ALIKE)) == "Berlin."


async def test_an_answer_that_was_called_wrong_does_not_come_back_with_past_traffic(
    alike: House, written: Written
) -> None:
    await alike.rest("PATCH", "guardrails", {"capture": True, "capture_days": 7})
    alike.upstream.script(text="Lyon.")
    await alike.ask(ASKED)
    await written()
    await captured(alike, 1)
    (entry,) = await kept(alike)
    await alike.rest("POST", f"cache/entries/{entry.id}/wrong", status=204)
    assert (await alike.rest("POST", "cache/semantic/warm-up", {"limit": 10}))["warmed"] == 0
    assert [(one.wrong, one.size) for one in await kept(alike)] == [(1, 0)]
    assert not await hits(alike)


async def test_a_shorter_time_to_live_holds_for_what_is_kept_already(warm: House) -> None:
    def age() -> None:
        with warm.company.scope(), transaction.atomic():
            SemanticEntry.objects.update(created_at=timezone.now() - timedelta(seconds=7_200))

    await sync_to_async(age)()
    assert await hits(warm)
    await warm.rest("PATCH", "cache", {"semantic_ttl_s": 3_600})
    namespaces.forget(warm.company.id)
    assert not await hits(warm)


async def test_what_nothing_was_to_be_kept_of_becomes_no_entry(house: House) -> None:
    await house.rest("PATCH", "guardrails", {"capture": True, "capture_days": 7})
    await house.ask(ASKED)
    await house.ask(OTHER, headers={"cache-control": "no-store"})
    await sync_to_async(switch_on)(house.company)
    async with soon():
        # As many as are wanted come of it, also where some of the newest are passed over.
        while not (await house.rest("POST", "cache/semantic/warm-up", {"limit": 1}))["warmed"]:
            await asyncio.sleep(0.05)
    (entry,) = await kept(house)
    asked = question_of_cell(house.company.id, entry.id, bytes(entry.question))
    assert asked is not None
    assert asked.text == ASKED


async def test_a_slow_embedder_makes_a_miss_in_time(
    warm: House, monkeypatch: pytest.MonkeyPatch, written: Written
) -> None:
    class Stuck(Fake):
        async def embed(self, texts: Any) -> Any:
            await never.wait()

    never = asyncio.Event()
    stuck = Stuck()
    monkeypatch.setattr(lookups, "embedder_for", lambda name, principal: stuck)
    began = asyncio.get_running_loop().time()
    answer = await warm.ask(f"{ALIKE} again")
    assert answer.headers["x-parley-cache"] == "miss"
    assert lookups.LOOKUP_S <= asyncio.get_running_loop().time() - began < 10 * lookups.LOOKUP_S
    monkeypatch.undo()
    never.set()
    await lookups.close()


async def test_without_the_extension_the_tier_is_off_and_says_why(warm: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def told() -> Any:
        return (await request(operators, "GET", "/readyz")).json()["semantic_cache"]

    assert (await told())["state"] == "ready"
    monkeypatch.setattr(support, "EXTENSION", "no_such_extension")
    support.known.pop()
    assert await told() == {"state": "off", "why": support.NO_EXTENSION, "pgvector": None, "indexed": True}
    answer = await warm.ask(ALIKE)
    assert answer.headers["x-parley-cache"] == "miss"
    support.known.pop()
    monkeypatch.undo()


async def test_a_large_scope_is_asked_by_its_index_under_row_level_security(warm: House) -> None:
    """The plan names the index, and the index finds what comparing one by one does."""
    (entry,) = await kept(warm)
    vector = from_reals(entry.embedding)

    async def plan(order: str, before: str) -> str:
        statement = storage.near_statement(order, len(vector), answers=False)
        given = {"vector": as_vector(vector), "scope": bytes(entry.scope), "ttl_s": 60, "limit": 8}
        rows = await storage.alone(warm.company.id)(f"EXPLAIN {statement}", given, before=before)
        return "\n".join(row["QUERY PLAN"] for row in rows)

    assert INDEX in await plan(storage.BY_INDEX, storage.INDEXED)
    assert INDEX not in await plan(storage.ONE_BY_ONE, "SET LOCAL enable_seqscan = off")
    for size in (0, storage.EXACT_ROWS + 1):
        storage.sizes.put(warm.company.id, bytes(entry.scope), size)
        asked = {"tenant_id": warm.company.id, "scope": bytes(entry.scope), "vector": vector, "ttl_s": 60, "limit": 8}
        (found,) = await storage.nearest(storage.alone(warm.company.id), **asked)
        async with adb.transaction(warm.company.id) as connection:
            assert await storage.nearest(storage.within(connection), **asked) == [found]
        assert await storage.nearest_now(**asked) == [found | {"cosine": pytest.approx(found["cosine"], abs=1e-9)}]
        assert await storage.nearest_now(**asked | {"tenant_id": uuid.uuid4()}) == []
        assert found["id"] == entry.id
        assert found["cosine"] == pytest.approx(1.0, abs=1e-5)


async def test_an_embedder_that_nobody_has_is_refused(house: House) -> None:
    await house.rest("PATCH", "cache", {"semantic_embedder": "no-such-embedder"}, status=400)
    changed = await house.rest("PATCH", "cache", {"semantic": True, "semantic_rate": 0.02, "semantic_ttl_s": 60})
    assert (changed["semantic"], changed["semantic_rate"], changed["semantic_ttl_s"]) == (True, 0.02, 60)
    shown = await house.rest("GET", "cache/semantic")
    assert shown["calibration"]["embedder"] == changed["semantic_embedder"]


async def test_a_tenants_own_model_makes_the_vectors_and_is_billed(alike: House, written: Written) -> None:
    name = f"route:{alike.model}"

    def choose() -> None:
        with alike.company.scope(), transaction.atomic():
            SemanticCalibration.objects.create(
                tenant_id=alike.company.id,
                version=VERSION,
                embedder=name,
                body=msgspec.to_builtins(msgspec.structs.replace(by_cosine(), embedder=name)),
                source="pairs",
                pairs=1000,
            )
        switch_on(alike.company, semantic_embedder=name)

    await sync_to_async(choose)()
    await alike.ask(ASKED)
    await written()
    (entry,) = await kept(alike)
    assert (entry.embedder, entry.dimensions) == (name, len(entry.embedding))
    embedded = [record for record in alike.upstream.records if "input" in record.body]
    (answered,) = [record for record in alike.upstream.records if "messages" in record.body]
    assert [record.prompt for record in embedded] == [ASKED, answered.text]
    # The question's vector, the answer's, and the answer: each on the bill of whoever asked.
    assert all(one.sell_nano > 0 for one in await alike.usage(3))
    await alike.rest("PATCH", "cache", {"semantic_embedder": "route: "}, status=400)


async def test_an_entry_that_is_deleted_from_the_exact_cache_is_gone_from_the_semantic_too(warm: House) -> None:
    await warm.written()
    (entry,) = (await warm.rest("GET", "cache/entries"))["data"]
    await warm.rest("DELETE", f"cache/entries/{entry['id']}", status=204)
    assert await kept(warm) == []
    assert (await warm.ask(ASKED)).headers["x-parley-cache"] == "miss"


async def test_each_request_is_counted_once(warm: House, written: Written) -> None:
    await written()
    await warm.rest("POST", "cache/stats/reset")
    await warm.ask(ASKED)
    await warm.ask("Why is grass so green in spring?")
    await warm.ask(ASKED, headers={"cache-control": "no-cache"})
    await warm.ask("Name a colour", temperature=1)
    await written()
    found = [(await warm.ask(ALIKE)).headers["x-parley-cache"] for _ in range(2)]
    await written()
    counted = await warm.rest("GET", "cache/stats")
    assert counted["hits_semantic"] == found.count("semantic") > 0
    assert (counted["misses"], counted["bypasses"]) == (1 + found.count("miss"), 2)
