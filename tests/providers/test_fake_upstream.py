"""The fake upstream as other processes meet it: started as a program, scripted and read over HTTP."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import openai
import pytest

from tests.support.patience import soon

pytestmark = pytest.mark.no_database

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
async def base_url() -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.fakes.openai_upstream",
        "--api-key",
        "sk-right",
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with soon():
            yield (await process.stdout.readline()).decode().strip()
    finally:
        process.terminate()
        await process.communicate()


async def test_it_is_scripted_and_read_over_http_and_the_official_client_understands_it(
    base_url: str,
) -> None:
    control = base_url.removesuffix("/v1")
    async with (
        aiohttp.ClientSession() as session,
        openai.AsyncOpenAI(api_key="sk-right", base_url=base_url, max_retries=0) as client,
        openai.AsyncOpenAI(api_key="sk-wrong", base_url=base_url, max_retries=0) as stranger,
    ):
        wrong = await session.put(f"{control}/_script", json={"script": {"fault": "no such"}})
        assert wrong.status == 400
        once = {"model": "m", "times": 1, "script": {"text": "Once.", "usage": "always"}}
        assert (await session.put(f"{control}/_script", json=once)).status == 200

        with pytest.raises(openai.AuthenticationError):
            await stranger.models.list()
        assert [model.id async for model in client.models.list()] == ["fake-model"]

        async def say(prompt: str) -> str:
            stream = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": prompt}], stream=True
            )
            return "".join([part.choices[0].delta.content or "" async for part in stream if part.choices])

        assert await say("Hello") == "Once."
        assert await say("Hello") == "You said: Hello"
        assert await say("!script " + json.dumps({"text": "By prompt.", "split": 3})) == "By prompt."
        with pytest.raises(openai.RateLimitError):
            await say('!script {"fault": "429"}')

        account = await (await session.get(f"{control}/_record")).json()
        assert [record["text"] for record in account["requests"]] == [
            "Once.",
            "You said: Hello",
            "By prompt.",
            "",
        ]
        assert [record["reported"] for record in account["requests"]] == [True, False, False, False]
        assert [record["outcome"] for record in account["requests"]] == [*["complete"] * 3, "fault"]
        assert account["in_flight"] == 0
        only = account["requests"][1]["id"]
        found = await (await session.get(f"{control}/_record", params={"id": only})).json()
        assert [record["prompt"] for record in found["requests"]] == ["Hello"]
