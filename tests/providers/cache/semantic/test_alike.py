"""Questions in other words, at the front door."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import sync_to_async

from tests.providers.cache.conftest import House, text_of
from tests.providers.cache.semantic.conftest import entries

Written = Callable[[], Awaitable[None]]
ASKED = "What is the capital city of France please"
ALIKE = "Please, what is the capital city of France?"
OTHER = "How tall is the highest mountain on Mars"


async def test_a_question_in_other_words_is_answered_from_the_cache(alike: House, written: Written) -> None:
    alike.upstream.script(text="Paris.")
    first = await alike.ask(ASKED)
    await written()
    second = await alike.ask(ALIKE)
    assert (first.headers["x-parley-cache"], second.headers["x-parley-cache"]) == ("miss", "semantic")
    assert text_of(second) == "Paris."
    assert alike.asked == 1
    assert 0.5 <= float(second.headers["x-parley-cache-score"]) <= 1
    assert second.headers["x-parley-cache-age"] == "0"
    assert second.headers["x-parley-model"] == "fake-model"
    (entry,) = await sync_to_async(entries)(alike.company)
    assert second.headers["x-parley-cache-entry"] == str(entry.id)
    assert second.json()["id"].endswith(second.headers["x-request-id"].replace("-", ""))


async def test_another_question_goes_to_the_provider(alike: House, written: Written) -> None:
    await alike.ask(ASKED)
    await written()
    assert (await alike.ask(OTHER)).headers["x-parley-cache"] == "miss"
    assert alike.asked == 2


async def test_a_hit_streams_in_the_normal_shape(alike: House, written: Written) -> None:
    text = "A longer answer, naïve café, " * 20
    alike.upstream.script(text=text)
    await alike.ask(ASKED)
    await written()
    hit = await alike.ask(ALIKE, stream=True, stream_options={"include_usage": True})
    assert hit.headers["x-parley-cache"] == "semantic"
    assert text_of(hit) == text
    frames = [line for line in hit.text.split("\n\n") if line]
    assert frames[-1] == "data: [DONE]"
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames[:-1]]
    assert len(chunks) > 10
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["usage"]["completion_tokens"] == alike.upstream.records[0].completion_tokens


async def test_a_hit_costs_nothing_and_is_recorded(alike: House, written: Written) -> None:
    await alike.ask(ASKED)
    await written()
    await alike.ask(ALIKE)
    paid, free = await alike.usage(2)
    assert (paid.cache, free.cache) == ("miss", "semantic")
    assert paid.cost_nano > 0
    assert (free.cost_nano, free.sell_nano, free.input, free.output, free.status) == (0, 0, 0, 0, "complete")


async def test_it_is_off_unless_turned_on(house: House, written: Written) -> None:
    await house.ask(ASKED)
    await written()
    assert (await house.ask(ALIKE)).headers["x-parley-cache"] == "miss"
    assert await sync_to_async(entries)(house.company) == []


async def test_cache_control_is_obeyed(alike: House, written: Written) -> None:
    await alike.ask(ASKED, headers={"cache-control": "no-store"})
    await written()
    assert await sync_to_async(entries)(alike.company) == []
    assert (await alike.ask(ASKED)).headers["x-parley-cache"] == "miss"
    await written()
    anew = await alike.ask(ALIKE, headers={"cache-control": "no-cache"})
    assert anew.headers["x-parley-cache"] == "bypass"
    await written()
    assert len(await sync_to_async(entries)(alike.company)) == 2
    assert (await alike.ask(ALIKE, headers={"x-parley-cache": "false"})).headers["x-parley-cache"] == "bypass"


async def test_nothing_is_served_across_conversations(alike: House, written: Written) -> None:
    def turns(who: str) -> list[dict[str, Any]]:
        said = [{"role": "user", "content": f"Tell me about {who}."}, {"role": "assistant", "content": "A painter."}]
        return [*said, {"role": "user", "content": ASKED}]

    await alike.ask(messages=turns("Frida"))
    await written()
    assert (await alike.ask(messages=turns("Pablo"))).headers["x-parley-cache"] == "miss"
    assert (await alike.ask(ASKED)).headers["x-parley-cache"] == "miss"
    assert (await alike.ask(ALIKE, max_tokens=5)).headers["x-parley-cache"] == "miss"
    await written()
    again = turns("Frida")
    again[-1]["content"] = ALIKE
    assert (await alike.ask(messages=again)).headers["x-parley-cache"] == "semantic"


async def test_a_question_that_needs_what_was_said_before_never_hits(alike: House, written: Written) -> None:
    for _ in range(2):
        await alike.ask("How old is he?", headers={"x-parley-cache": "true"})
        await written()
    assert await sync_to_async(entries)(alike.company) == []


async def test_what_is_no_whole_answer_is_not_kept(alike: House, settings: Any, written: Written) -> None:
    settings.DEDUPE_WINDOW_S = 0
    for script in ({"finish_reason": "length"}, {"text": ""}, {"text": "I'm sorry, but I can't help with that."}):
        alike.upstream.script(**script)
        await alike.ask(ASKED, stream=True)
        await written()
        alike.upstream.reset()
        assert await sync_to_async(entries)(alike.company) == []
        await alike.rest("POST", "cache/invalidate", {"all": True})


async def test_what_is_kept_is_encrypted(alike: House, written: Written) -> None:
    alike.upstream.script(text="Paris is the capital.")
    await alike.ask(ASKED)
    await written()
    (entry,) = await sync_to_async(entries)(alike.company)
    for cell in (bytes(entry.question), bytes(entry.body)):
        assert b"Paris" not in cell
        assert b"France" not in cell
    assert len(entry.embedding) == entry.dimensions == 384
