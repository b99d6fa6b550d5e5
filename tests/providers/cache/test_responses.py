"""Responses and the exact cache: what is kept and said back is the caller's own, also where the answer was found."""

import json
from typing import Any

import pytest

from config.asgi import application
from tests.providers.cache.conftest import House
from tests.support.asgi import Answer, request


async def respond(house: House, credential: str | None = None, **body: Any) -> Answer:
    """Ask for a response, at temperature 0."""
    asked = {"model": house.model, "input": "Hello", "temperature": 0} | body
    headers = {"authorization": f"Bearer {credential or house.company.api_key}"}
    return await request(application, "POST", "/v1/responses", body=asked, headers=headers)


async def retrieve(house: House, name: str) -> Answer:
    headers = {"authorization": f"Bearer {house.company.api_key}"}
    return await request(application, "GET", f"/v1/responses/{name}", headers=headers)


def said(answer: Answer) -> Any:
    """The response in an answer, whole or streamed."""
    assert answer.status_code == 200, answer.text
    if not answer.text.startswith("event:"):
        return answer.json()
    last = [line for line in answer.text.splitlines() if line.startswith("data: ")][-1]
    return json.loads(last.removeprefix("data: "))["response"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_from_the_cache_is_kept_like_any_other(house: House, stream: bool) -> None:
    for question in ("One", "Two"):
        for expected in ("miss", "exact", "exact"):
            answer = await respond(house, input=question, stream=stream)
            made = said(answer)
            assert answer.headers["x-parley-cache"] == expected
            kept = await retrieve(house, made["id"])
            assert kept.status_code == 200, (expected, kept.text)
            assert kept.json() == made
            await house.written()
    assert house.asked == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_from_the_cache_says_back_what_its_own_caller_asked(house: House, stream: bool) -> None:
    for number in range(4):
        answer = await respond(house, stream=stream, metadata={"number": str(number)}, store=number % 2 == 0)
        made = said(answer)
        assert made["metadata"] == {"number": str(number)}
        assert made["store"] is (number % 2 == 0)
        await house.written()
    assert house.asked == 1
