"""Looking after the cache: settings, invalidation, entries, counters, warming up."""

from io import StringIO
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.core.management.base import CommandError

from providers.cache import namespaces
from providers.services import cache
from tests.providers.cache.conftest import House, text_of
from tests.support.cast import Company


async def test_settings_begin_with_the_defaults_and_can_be_changed(house: House) -> None:
    before = await house.rest("GET", "cache")
    assert before == {
        "enabled": True,
        "ttl_s": 3600,
        "sharing": "principal",
        "max_bytes": 256 * 1024**2,
        "opt_in_all": False,
        "max_temperature": 0.0,
        "semantic": False,
        "semantic_rate": 0.01,
        "semantic_ttl_s": 86_400,
        "semantic_audit_share": 0.02,
        "semantic_max_entries": 10_000,
        "semantic_embedder": "all-MiniLM-L6-v2-int8",
    }
    changed = await house.rest("PATCH", "cache", {"ttl_s": 60, "sharing": "group"})
    assert changed == before | {"ttl_s": 60, "sharing": "group"}
    assert await house.rest("GET", "cache") == changed


@pytest.mark.parametrize(
    "body",
    [
        {"ttl_s": 0},
        {"ttl_s": 10**9},
        {"sharing": "world"},
        {"max_bytes": 1},
        {"max_temperature": -1},
        {"generation": 7},
        {"evicted": {}},
    ],
    ids=lambda body: next(iter(body)),
)
async def test_bad_settings_are_refused_and_change_nothing(house: House, body: dict[str, object]) -> None:
    before = await house.rest("GET", "cache")
    await house.rest("PATCH", "cache", body, status=400)
    assert await house.rest("GET", "cache") == before


async def test_a_model_is_invalidated_alone(house: House) -> None:
    await house.ask("Keep")
    await house.written()
    assert await house.rest("POST", "cache/invalidate", {"model": "another"}) == {"deleted": 0}
    assert (await house.ask("Keep")).headers["x-parley-cache"] == "exact"
    assert await house.rest("POST", "cache/invalidate", {"model": house.model}) == {"deleted": 1}
    assert (await house.ask("Keep")).headers["x-parley-cache"] == "miss"
    assert (await house.ask("Keep")).headers["x-parley-cache"] == "exact"
    assert await house.rest("POST", "cache/invalidate", {"all": True}) == {"deleted": 0}
    assert (await house.ask("Keep")).headers["x-parley-cache"] == "miss"


@pytest.mark.parametrize("body", [{}, {"all": False}, {"all": True, "model": "x"}, {"modle": "x"}], ids=str)
async def test_what_to_forget_must_be_said(house: House, body: dict[str, object]) -> None:
    await house.ask("Keep")
    refused = await house.rest("POST", "cache/invalidate", body, status=400)
    assert refused["type"] == "invalid_request_error"
    assert (await house.ask("Keep")).headers["x-parley-cache"] == "exact"


async def test_too_many_invalidated_models_forget_all_of_them(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_MODEL_GENERATIONS", 1)
    await house.ask("Keep")
    await house.rest("POST", "cache/invalidate", {"model": "one"})
    assert (await house.ask("Keep")).headers["x-parley-cache"] == "exact"
    await house.rest("POST", "cache/invalidate", {"model": "two"})
    assert (await house.ask("Keep")).headers["x-parley-cache"] == "miss"


async def test_one_entry_is_forgotten_everywhere(house: House) -> None:
    for prompt in ("One", "Two"):
        await house.ask(prompt)
        await house.written()
    listed = (await house.rest("GET", "cache/entries?limit=1"))["data"]
    rest = await house.rest("GET", "cache/entries")
    assert (len(listed), len(rest["data"]), rest["next_cursor"]) == (1, 2, None)
    newest = rest["data"][0]
    assert newest == listed[0]
    assert (newest["model"], newest["tokens"] > 0, newest["bytes"] > 0) == (house.model, True, True)
    assert "Two" not in str(rest)
    await house.rest("DELETE", f"cache/entries/{newest['id']}", status=204)
    await house.rest("DELETE", f"cache/entries/{newest['id']}", status=404)
    assert (await house.ask("One")).headers["x-parley-cache"] == "exact"
    house.upstream.script(text="New")
    # What is kept from now on counts again.
    await house.ask("Two", headers={"cache-control": "no-cache"})
    hit = await house.ask("Two")
    assert (hit.headers["x-parley-cache"], text_of(hit)) == ("exact", "New")


async def test_a_deleted_entry_is_not_found_in_memory_or_redis(
    house: House, settings: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEDUPE_WINDOW_S = 0  # type: ignore[attr-defined]
    await house.ask("Gone")
    await house.written()
    # Redis doesn't hear of it, as if it had been away.
    monkeypatch.setattr(cache, "_forget", lambda key: None)
    (entry,) = (await house.rest("GET", "cache/entries"))["data"]
    await house.rest("DELETE", f"cache/entries/{entry['id']}", status=204)
    assert (await house.ask("Gone")).headers["x-parley-cache"] == "miss"
    assert house.asked == 2


async def test_too_many_deleted_entries_forget_all_of_them(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_EVICTED", 1)
    for prompt in ("One", "Two", "Three"):
        await house.ask(prompt)
    await house.written()
    entries = (await house.rest("GET", "cache/entries"))["data"]
    for entry in entries[:2]:
        await house.rest("DELETE", f"cache/entries/{entry['id']}", status=204)
    assert (await house.ask("One")).headers["x-parley-cache"] == "miss"


async def test_what_is_counted_can_be_read_and_begun_anew(house: House) -> None:
    for _ in range(3):
        await house.ask("Count")
    await house.ask("Bypass", temperature=1)
    await house.written()
    counted = await house.rest("GET", "cache/stats")
    (asked, _) = house.upstream.records
    assert {
        name: counted[name] for name in ("misses", "hits_memory", "hits_redis", "bypasses", "stores", "entries")
    } == {
        "misses": 1,
        "hits_memory": 2,
        "hits_redis": 0,
        "bypasses": 1,
        "stores": 1,
        "entries": 1,
    }
    assert counted["saved_input_tokens"] == 2 * asked.prompt_tokens
    assert counted["saved_output_tokens"] == 2 * asked.completion_tokens
    assert counted["bytes"] > 0
    assert await house.rest("POST", "cache/stats/reset") == counted
    anew = await house.rest("GET", "cache/stats")
    assert (anew["misses"], anew["hits_memory"], anew["entries"]) == (0, 0, 1)
    assert anew["since"] >= counted["since"]


async def test_redis_is_warmed_up_from_postgresql(house: House) -> None:
    for prompt in ("One", "Two", "Three"):
        await house.ask(prompt)
    await house.written()
    await house.forget_redis()
    assert await house.rest("POST", "cache/warm-up", {"limit": 2}) == {"warmed": 2}
    house.restart()
    for prompt in ("Two", "Three"):
        assert (await house.ask(prompt)).headers["x-parley-cache"] == "exact"
    await house.written()
    counted = await house.rest("GET", "cache/stats")
    assert (counted["hits_redis"], counted["hits_postgres"]) == (2, 0)
    await house.rest("POST", "cache/warm-up", {"limit": 0}, status=400)


async def test_members_may_not_look_after_the_cache(house: House) -> None:
    house.company = type(house.company)(
        tenant=house.company.tenant,
        api_key=house.company.api_key,
        alice=house.company.bob,
        bob=house.company.bob,
        vera=house.company.vera,
    )
    await house.rest("GET", "cache", status=403)
    await house.rest("POST", "cache/invalidate", {"all": True}, status=403)


async def test_an_operator_forgets_one_tenants_answers_or_all(
    house: House, open_house: Any, neighbour: Company
) -> None:
    other: House = await open_house(neighbour)
    for each in (house, other):
        await each.ask("Operate")
    await sync_to_async(call_command)(
        "invalidate_cache", "--tenant", house.company.tenant.slug, "--json", stdout=StringIO()
    )
    assert (await house.ask("Operate")).headers["x-parley-cache"] == "miss"
    assert (await other.ask("Operate")).headers["x-parley-cache"] == "exact"
    await sync_to_async(call_command)("invalidate_cache", "--all", "--model", other.model, "--json", stdout=StringIO())
    assert (await house.ask("Operate")).headers["x-parley-cache"] == "exact"
    assert (await other.ask("Operate")).headers["x-parley-cache"] == "miss"
    for wrong in ([], ["--all", "--tenant", "x"]):
        with pytest.raises(CommandError):
            await sync_to_async(call_command)("invalidate_cache", *wrong)


async def test_settings_are_looked_up_once_for_many_requests(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    real = namespaces._read

    async def noting(tenant_id: object) -> namespaces.Namespace:
        looked.append(tenant_id)
        return await real(tenant_id)  # type: ignore[arg-type]

    monkeypatch.setattr(namespaces, "_read", noting)
    monkeypatch.setattr(namespaces, "KEPT_S", 60.0)
    for number in range(10):
        await house.ask(f"Question {number}")
    assert looked == [house.company.id]
