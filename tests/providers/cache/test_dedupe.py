"""Identical requests in flight: one is asked, all are answered, each by itself, and what was used is recorded once."""

import asyncio
import json
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator

from config.asgi import application
from providers.cache import flights
from tests.providers.cache.conftest import House, text_of
from tests.providers.conftest import until


class Client:
    """A streaming client that can leave."""

    def __init__(self, house: House, prompt: str, *, stream: bool = True) -> None:
        body = {
            "model": house.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 0,
            "stream": stream,
        }
        content = json.dumps(body).encode()
        self._content = content
        self._connection = ApplicationCommunicator(
            application,
            {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "method": "POST",
                "scheme": "http",
                "path": "/v1/chat/completions",
                "raw_path": b"/v1/chat/completions",
                "query_string": b"",
                "headers": [
                    (b"host", b"testserver"),
                    (b"content-length", str(len(content)).encode()),
                    (b"authorization", f"Bearer {house.company.api_key}".encode()),
                ],
                "client": ("127.0.0.1", 50000),
                "server": ("testserver", 80),
            },
        )
        self.headers: dict[str, str] = {}
        self.status = 0
        self.text = ""

    async def begin(self) -> "Client":
        """Send the request."""
        await self._connection.send_input({"type": "http.request", "body": self._content, "more_body": False})
        return self

    async def first(self) -> "Client":
        """Read the head of the answer, and of a stream its first frames."""
        start = await self._connection.receive_output(5)
        self.status = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        await self._read()
        return self

    async def rest(self) -> "Client":
        """Read to the end."""
        while await self._read():
            pass
        await self._connection.send_input({"type": "http.disconnect"})
        await self._connection.wait(5)
        return self

    async def leave(self) -> None:
        """Close the connection."""
        await self._connection.send_input({"type": "http.disconnect"})
        await self._connection.wait(5)

    async def _read(self) -> bool:
        message = await self._connection.receive_output(5)
        self.text += message.get("body", b"").decode()
        return bool(message.get("more_body", False))

    @property
    def said(self) -> str:
        chunks = [json.loads(line[6:]) for line in self.text.splitlines() if line.startswith("data: {")]
        assert not [chunk for chunk in chunks if "error" in chunk], self.text
        return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])


SLOW = {"text": "one two three four five six seven eight nine ten", "chunk": 4, "delay_ms": 30}


async def balanced(house: House, requests: int) -> list[Any]:
    """The usage records of so many requests, which in all are what the provider counted."""
    records = await house.usage(requests)
    tally = house.upstream.records
    assert sum(record.input for record in records) == sum(record.prompt_tokens for record in tally)
    assert sum(record.output for record in records) == sum(record.completion_tokens for record in tally)
    assert all(record.cost_nano == 0 for record in records if not record.input)
    return records


async def test_followers_get_the_same_from_the_beginning(house: House) -> None:
    house.upstream.script(**SLOW)
    leader = await (await Client(house, "Count").begin()).first()
    followers = [await Client(house, "Count").begin() for _ in range(3)]
    plain = asyncio.create_task(house.ask("Count"))
    for client in followers:
        await client.first()
    for client in (leader, *followers):
        await client.rest()
        assert client.said == SLOW["text"]
        assert client.text.endswith("data: [DONE]\n\n")
    assert text_of(await plain) == SLOW["text"]
    assert [client.headers["x-parley-cache"] for client in (leader, *followers)] == ["miss", *["dedupe"] * 3]
    assert (await plain).headers["x-parley-cache"] == "dedupe"
    assert house.asked == 1
    records = await balanced(house, 5)
    assert sorted(record.cache for record in records) == ["dedupe"] * 4 + ["miss"]
    assert {record.status for record in records} == {"complete"}


async def test_plain_requests_are_made_once(house: House) -> None:
    house.upstream.script(text="slowly", first_delay_ms=100)
    answers = await asyncio.gather(*(house.ask("Together") for _ in range(5)))
    assert {text_of(answer) for answer in answers} == {"slowly"}
    assert sorted(answer.headers["x-parley-cache"] for answer in answers) == ["dedupe"] * 4 + ["miss"]
    assert len({answer.json()["id"] for answer in answers}) == 5
    assert {json.dumps(answer.json()["usage"]) for answer in answers} == {json.dumps(answers[0].json()["usage"])}
    assert house.asked == 1
    await balanced(house, 5)


async def test_a_leader_that_leaves_touches_no_follower_and_pays(house: House) -> None:
    house.upstream.script(**SLOW)
    leader = await (await Client(house, "Leave").begin()).first()
    followers = [await (await Client(house, "Leave").begin()).first() for _ in range(2)]
    await leader.leave()
    for client in followers:
        await client.rest()
        assert client.said == SLOW["text"]
    assert house.upstream.records[0].outcome == "complete"
    first, second, third = await balanced(house, 3)
    assert (first.status, first.cache) == ("complete", "miss")
    assert first.cost_nano > 0
    assert (second.status, second.cost_nano, second.cache) == ("complete", 0, "dedupe")
    assert (third.status, third.cost_nano, third.cache) == ("complete", 0, "dedupe")


async def test_a_follower_that_leaves_touches_nobody(house: House) -> None:
    house.upstream.script(**SLOW)
    leader = await (await Client(house, "Stay").begin()).first()
    follower = await (await Client(house, "Stay").begin()).first()
    await follower.leave()
    assert (await leader.rest()).said == SLOW["text"]
    first, second = await balanced(house, 2)
    assert (first.status, first.cache, second.status, second.cost_nano) == ("complete", "miss", "stopped", 0)


async def test_when_all_leave_the_provider_is_stopped_and_the_first_pays(house: House) -> None:
    house.upstream.script(**SLOW | {"delay_ms": 100})
    leader = await (await Client(house, "Gone").begin()).first()
    follower = await (await Client(house, "Gone").begin()).first()
    await leader.leave()
    assert house.upstream.in_flight == 1
    await follower.leave()
    await until(lambda: house.upstream.in_flight == 0)
    assert house.upstream.records[0].outcome == "disconnected"
    first, second = await house.usage(2)
    assert (first.status, first.input > 0, first.cost_nano > 0) == ("stopped", True, True)
    assert (second.status, second.cost_nano, second.input) == ("stopped", 0, 0)
    # Nobody follows what was stopped.
    house.upstream.script(text="anew")
    assert text_of(await house.ask("Gone")) == "anew"


async def test_a_failure_is_everybodys_and_is_not_kept(house: House) -> None:
    house.upstream.script(fault="400", first_delay_ms=100)
    answers = await asyncio.gather(*(house.ask("Fail") for _ in range(3)))
    assert {answer.status_code for answer in answers} == {400}
    house.upstream.forget_scripts()
    assert text_of(await house.ask("Fail")) == "You said: Fail"


async def test_those_who_come_a_little_late_are_given_it_still(house: House) -> None:
    """Truncated answers are in no cache, but who asks at the same time gets the same."""
    house.upstream.script(text="cut sho", finish_reason="length")
    first = await house.ask("Late")
    second = await house.ask("Late")
    assert second.headers["x-parley-cache"] == "dedupe"
    assert second.json()["choices"] == first.json()["choices"]
    await balanced(house, 2)


async def test_after_the_window_it_is_asked_anew(house: House, settings: Any) -> None:
    settings.DEDUPE_WINDOW_S = 0
    house.upstream.script(text="cut sho", finish_reason="length")
    await house.ask("Later")
    assert (await house.ask("Later")).headers["x-parley-cache"] == "miss"
    assert house.asked == 2


async def test_nobody_follows_who_may_not(house: House) -> None:
    house.upstream.script(text="slowly", first_delay_ms=100)
    asked = (
        house.ask("Same"),
        house.ask("Same", credential=house.company.bob.access_token()),
        house.ask("Same", headers={"cache-control": "no-cache"}),
        house.ask("Same", headers={"cache-control": "no-store"}),
        house.ask("Same", temperature=None),
        house.ask("Same", seed=1),
        house.ask("Same", headers={"x-parley-deadline-ms": "9000"}),
        house.ask("Same", headers={"x-parley-priority": "batch"}),
    )
    answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {200}
    assert "dedupe" not in {answer.headers["x-parley-cache"] for answer in answers}
    assert house.asked == len(answers)
    refused = await house.ask("Same", credential=house.company.vera.access_token())
    assert refused.status_code == 403


async def test_an_answer_too_long_to_be_kept_for_followers_reaches_who_reads_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flights, "MAX_LOG_CHARS", 1_000)
    monkeypatch.setattr(flights, "MAX_LAG_EVENTS", 8)
    text = "".join(f"{number:05}" for number in range(800))
    house.upstream.script(text=text, chunk=40, delay_ms=1)
    reader = await (await Client(house, "Long").begin()).first()
    assert (await reader.rest()).said == text
    await balanced(house, 1)
