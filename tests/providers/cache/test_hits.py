"""The exact cache at the front door: what is a hit, what isn't, and what a hit looks like."""

import json
import time
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from config.asgi import application
from kernel.redis import async_redis
from providers.cache import lookups, shared
from providers.cache.entries import MAX_ENTRY_BYTES
from providers.gateway.openai import ChatCompletions
from tests.providers.cache.conftest import House, text_of
from tests.support.asgi import Answer, request


async def test_the_same_question_is_asked_of_the_provider_once(house: House) -> None:
    first = await house.ask("One and the same")
    second = await house.ask("One and the same")
    assert (first.headers["x-parley-cache"], second.headers["x-parley-cache"]) == ("miss", "exact")
    assert house.asked == 1
    assert text_of(second) == text_of(first) == "You said: One and the same"
    assert second.headers["x-parley-cache-age"] == "0"
    assert second.headers["x-parley-model"] == "fake-model"
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    was, now = first.json(), second.json()
    assert now.pop("id") == f"chatcmpl-{second.headers['x-request-id'].replace('-', '')}" != was.pop("id")
    assert now["usage"] == was["usage"]
    assert now == was | {"created": now["created"]}


async def test_a_kept_answer_is_streamed_in_the_normal_shape(house: House) -> None:
    text = "A longer answer, naïve 👩‍👩‍👧 café, " * 20
    house.upstream.script(text=text)
    await house.ask("Tell me")
    hit = await house.ask("Tell me", stream=True, stream_options={"include_usage": True})
    assert hit.headers["x-parley-cache"] == "exact"
    assert text_of(hit) == text
    frames = [line for line in hit.text.split("\n\n") if line]
    assert frames[-1] == "data: [DONE]"
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames[:-1]]
    assert len(chunks) > 10
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == house.upstream.records[0].completion_tokens
    assert {chunk["id"] for chunk in chunks} == {f"chatcmpl-{hit.headers['x-request-id'].replace('-', '')}"}
    bare = await house.ask("Tell me", stream=True)
    assert "usage" not in bare.text
    assert text_of(bare) == text
    assert house.asked == 1


async def test_a_streamed_answer_is_kept_too(house: House) -> None:
    first = await house.ask("Stream it", stream=True)
    hit = await house.ask("Stream it")
    assert text_of(hit) == text_of(first)
    assert house.asked == 1


async def test_a_hit_costs_nothing_and_is_recorded(house: House) -> None:
    await house.ask("Count this")
    await house.ask("Count this")
    await house.ask("Count this", stream=True)
    paid, *free = await house.usage(3)
    (record,) = house.upstream.records
    assert (paid.cache, paid.input, paid.output) == ("miss", record.prompt_tokens, record.completion_tokens)
    assert paid.cost_nano > 0
    assert [(one.cache, one.cost_nano, one.sell_nano, one.input, one.output) for one in free] == [
        ("exact", 0, 0, 0, 0)
    ] * 2
    assert [one.streamed for one in free] == [False, True]
    assert {one.status for one in free} == {"complete"}


@pytest.mark.parametrize("temperature", [None, 0.1, 1])
async def test_only_temperature_0_is_kept_unless_one_opts_in(house: House, temperature: float | None) -> None:
    for _ in range(2):
        answer = await house.ask("Be creative", temperature=temperature)
        assert answer.headers["x-parley-cache"] == "bypass"
    assert house.asked == 2
    for expected in ("miss", "exact"):
        answer = await house.ask("Be creative", temperature=temperature, headers={"x-parley-cache": "true"})
        assert answer.headers["x-parley-cache"] == expected
    assert house.asked == 3


async def test_a_tenant_may_opt_in_or_out(house: House) -> None:
    await house.rest("PATCH", "cache", {"max_temperature": 0.5})
    assert (await house.ask(temperature=0.4)).headers["x-parley-cache"] == "miss"
    assert (await house.ask(temperature=0.4)).headers["x-parley-cache"] == "exact"
    assert (await house.ask(temperature=0.6)).headers["x-parley-cache"] == "bypass"
    await house.rest("PATCH", "cache", {"opt_in_all": True})
    assert (await house.ask(temperature=None)).headers["x-parley-cache"] == "miss"
    assert (await house.ask(temperature=None)).headers["x-parley-cache"] == "exact"
    await house.rest("PATCH", "cache", {"enabled": False})
    assert (await house.ask(temperature=0.4)).headers["x-parley-cache"] == "bypass"


async def test_no_cache_asks_anew_and_keeps_the_new_answer(house: House) -> None:
    await house.ask("How are you?")
    house.upstream.script(text="Better now.")
    anew = await house.ask("How are you?", headers={"cache-control": "no-cache"})
    assert anew.headers["x-parley-cache"] == "bypass"
    assert text_of(anew) == "Better now."
    hit = await house.ask("How are you?")
    assert (hit.headers["x-parley-cache"], text_of(hit)) == ("exact", "Better now.")
    assert house.asked == 2


async def test_no_store_keeps_nothing(house: House) -> None:
    assert (await house.ask("Secret", headers={"cache-control": "no-store"})).headers["x-parley-cache"] == "bypass"
    assert (await house.ask("Secret")).headers["x-parley-cache"] == "miss"
    assert house.asked == 2


@pytest.mark.parametrize(
    "script",
    [
        {"finish_reason": "length"},
        {"finish_reason": "content_filter"},
        {"text": ""},
        {"fault": "400"},
        {"fault": "cut"},
        {"text": "x" * (MAX_ENTRY_BYTES + 1), "chunk": 4096},
    ],
    ids=lambda script: f"{next(iter(script.items()))}"[:30],
)
async def test_what_is_no_whole_answer_is_not_kept(house: House, settings: Any, script: dict[str, Any]) -> None:
    settings.DEDUPE_WINDOW_S = 0
    house.upstream.script(**script)
    await house.ask("Try", stream=True)
    await house.written()
    house.upstream.reset()
    assert (await house.ask("Try")).headers["x-parley-cache"] == "miss"
    assert house.asked == 1
    assert (await house.ask("Try")).headers["x-parley-cache"] == "exact"


async def test_tool_calls_are_kept(house: House) -> None:
    house.upstream.script(text="", tool_calls=[{"id": "call_1", "name": "look", "arguments": '{"at": "it"}'}])
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    first = await house.ask("Look", tools=tools)
    hit = await house.ask("Look", tools=tools)
    assert hit.headers["x-parley-cache"] == "exact"
    assert hit.json()["choices"] == first.json()["choices"]
    assert hit.json()["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "look"


async def test_hints_change_nothing_and_unknown_parameters_bypass(house: House) -> None:
    await house.ask("Hint", user="alice")
    hit = await house.ask("Hint", user="bob", metadata={"a": "b"}, store=False)
    assert hit.headers["x-parley-cache"] == "exact"
    for extras in ({"web_search_options": {}}, {"something_new": 1}, {"store": True}):
        assert (await house.ask("Hint", **extras)).headers["x-parley-cache"] == "bypass", extras
    assert (await house.ask("Hint", logit_bias={"1": 5})).headers["x-parley-cache"] == "miss"
    assert (await house.ask("Hint", logit_bias={"1": 5})).headers["x-parley-cache"] == "exact"
    assert (await house.ask("Hint", logit_bias={"1": 6})).headers["x-parley-cache"] == "miss"


async def test_answers_are_shared_as_the_tenant_says(house: House) -> None:
    alice, bob = house.company.alice.access_token(), house.company.bob.access_token()
    assert (await house.ask(credential=alice)).headers["x-parley-cache"] == "miss"
    assert (await house.ask(credential=bob)).headers["x-parley-cache"] == "miss"
    assert (await house.ask(credential=bob)).headers["x-parley-cache"] == "exact"
    await house.rest("PATCH", "cache", {"sharing": "tenant"})
    assert (await house.ask(credential=alice)).headers["x-parley-cache"] == "miss"
    assert (await house.ask(credential=bob)).headers["x-parley-cache"] == "exact"


async def test_no_answer_crosses_tenants(house: House, open_house: Any, neighbour: Any) -> None:
    other: House = await open_house(neighbour)
    other.model = house.model
    await house.rest("PATCH", "cache", {"sharing": "tenant"})
    await other.rest("PATCH", "cache", {"sharing": "tenant"})
    await house.ask("Ours")
    refused = await other.ask("Ours")
    assert refused.status_code == 404


async def test_what_may_not_be_used_is_not_served_from_the_cache(house: House) -> None:
    await house.rest("PATCH", "cache", {"sharing": "tenant"})
    await house.ask("Allowed")
    viewer = await house.ask("Allowed", credential=house.company.vera.access_token())
    assert viewer.status_code == 403


async def test_an_answer_is_kept_for_its_time_to_live(
    house: House, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DEDUPE_WINDOW_S = 0
    await house.rest("PATCH", "cache", {"ttl_s": 60})
    await house.ask("Old news")
    await house.written()
    (key,) = [key async for key in async_redis().scan_iter(shared.redis_key(house.company.id, b"") + "*")]
    assert 50_000 < await async_redis().pttl(key) <= 60_000
    later = time.time() + 61
    monkeypatch.setattr(lookups, "time", SimpleNamespace(time=lambda: later))
    assert (await house.ask("Old news")).headers["x-parley-cache"] == "miss"
    assert house.asked == 2


async def test_embeddings_are_kept_in_any_case(house: House) -> None:
    async def embed(**body: Any) -> Answer:
        headers = {"authorization": f"Bearer {house.company.api_key}"}
        asked = {"model": house.model, "input": ["one", "two"]} | body
        return await request(application, "POST", "/v1/embeddings", body=asked, headers=headers)

    answers = [await embed(), await embed(), await embed(encoding_format="base64"), await embed(input=["one"])]
    assert [answer.headers["x-parley-cache"] for answer in answers] == ["miss", "exact", "exact", "miss"]
    plain, again, base64, _ = (answer.json() for answer in answers)
    assert plain == again
    assert isinstance(plain["data"][0]["embedding"], list)
    assert isinstance(base64["data"][0]["embedding"], str)
    assert base64["usage"] == plain["usage"]


async def test_one_answer_serves_every_api(house: House) -> None:
    first = await house.ask("Whichever", max_tokens=50)
    body = {
        "model": house.model,
        "max_tokens": 50,
        "temperature": 0,
        "messages": [{"role": "user", "content": "Whichever"}],
    }
    headers = {"x-api-key": house.company.api_key, "anthropic-version": "2023-06-01"}
    hits = [await request(application, "POST", "/v1/messages", body=body, headers=headers) for _ in range(2)]
    assert {hit.headers["x-parley-cache"] for hit in hits} == {"exact"}
    assert hits[0].json()["content"] == [{"type": "text", "text": text_of(first)}]
    assert len({hit.json()["id"] for hit in hits}) == 2
    streams = [
        await request(application, "POST", "/v1/messages", body=body | {"stream": True}, headers=headers)
        for _ in range(2)
    ]
    assert all("event: message_stop" in stream.text for stream in streams)
    said = [line for line in streams[1].text.splitlines() if '"text_delta"' in line]
    assert "".join(json.loads(line.removeprefix("data: "))["delta"]["text"] for line in said) == text_of(first)
    assert house.asked == 1


async def test_a_body_with_something_else_of_its_own_is_made_anew(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = count()

    def numbered(self: ChatCompletions, *args: Any, **more: Any) -> bytes:
        return b'{"number": %d}' % next(numbers)

    await house.ask("Numbers")
    monkeypatch.setattr(ChatCompletions, "answer", numbered)
    seen = {(await house.ask("Numbers")).json()["number"] for _ in range(3)}
    assert len(seen) == 3
