"""A provider is added in one module (`acme.py`) and one line, and all the rest works with it."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from kernel.errors import InvalidRequest, UpstreamFailed
from providers import registry
from providers.factory import ModelFactory
from providers.pipeline.execute import Execution
from providers.pipeline.values import Job
from providers.types import ChatRequest, Finished, StreamEvent, TextDelta, Usage
from tests.providers.acme import SPEC
from tests.providers.conftest import ask, candidate, job

pytestmark = pytest.mark.no_database


async def _answer(request: web.Request) -> web.Response:
    if request.headers["x-acme-key"] != "acme-secret":
        return web.json_response({"wrong": "who are you?"}, status=401)
    asked = await request.json()
    return web.json_response({"answer": f"{asked['model']}: {asked['question']}!", "words": [3, 4]})


@pytest.fixture
async def acme() -> AsyncIterator[str]:
    """Acme's API, at this address."""
    app = web.Application()
    app.router.add_post("/answer", _answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture
async def factory(acme: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ModelFactory]:
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))
    registry.register(SPEC)  # the one line
    factory = ModelFactory(environment={"ACME_API_KEY": "acme-secret", "ACME_BASE_URL": acme}, primary="acme")
    yield factory
    await factory.close()


def _job(factory: ModelFactory, request: ChatRequest, *, secret: str = "acme-secret") -> Job:  # noqa: S107
    (target,) = factory.default_targets()
    wrong = type(target)(target.provider, target.base_url, target.model, secret)
    return job(candidate(factory.adapter("acme"), target=wrong), request=request)


async def _events(work: Job) -> list[StreamEvent]:
    return [event async for came in Execution(work).events() for event in came]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
async def test_it_answers(factory: ModelFactory, stream: bool) -> None:
    events = await _events(_job(factory, ask("Why", stream=stream)))
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["oracle: Why!"]
    assert events[-1] == Finished("stop", Usage(input=3, output=4))


async def test_its_errors_are_of_the_tree(factory: ModelFactory) -> None:
    with pytest.raises(UpstreamFailed, match="misconfigured"):
        await _events(_job(factory, ask(), secret="wrong"))


async def test_what_it_cannot_be_told_is_refused_by_name(factory: ModelFactory) -> None:
    with pytest.raises(InvalidRequest, match="temperature"):
        await _events(_job(factory, ask(temperature=0.5)))


async def test_without_its_key_it_is_unavailable(factory: ModelFactory, acme: str) -> None:
    missing = ModelFactory(environment={"ACME_BASE_URL": acme}, primary="acme")
    assert missing.default_targets() == ()
    assert missing.availability("acme").reason == "ACME_API_KEY is not set"
