"""Images by address, for upstreams that fetch none: fetched once, within bounds, and refused by name."""

import asyncio
import base64

import pytest

from kernel.egress import Fetched, FetchFailed, URLRefused
from kernel.errors import ParleyError
from providers import images
from providers.adapters.gemini.adapter import Gemini
from providers.base import Target
from providers.errors import Unsupported
from providers.images import inline
from providers.pipeline.execute import Execution
from providers.types import ChatRequest, ImagePart, Message, Part, TextPart
from tests.fakes.gemini_upstream import GeminiUpstream
from tests.providers.conftest import candidate, job

pytestmark = pytest.mark.no_database

PNG = b"\x89PNG\r\n\x1a\nrest"
DATA = "data:image/png;base64," + base64.b64encode(PNG).decode()
CAT = "https://images.test/cat.png"


class Web:
    """Documents by address; counts who asks for them, and how many at once."""

    def __init__(self, documents: dict[str, Fetched | Exception]) -> None:
        self.documents = documents
        self.asked: list[str] = []
        self.most_at_once = 0
        self._now = 0

    async def __call__(self, url: str, *, max_bytes: int, timeout_s: float) -> Fetched:
        self.asked.append(url)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await asyncio.sleep(0)
        self._now -= 1
        found = self.documents[url]
        if isinstance(found, Exception):
            raise found
        assert max_bytes <= images.MAX_IMAGE_BYTES
        assert timeout_s <= images.FETCH_S
        return found


def _asking(*parts: Part) -> ChatRequest:
    return ChatRequest("alias", (Message("user", parts),))


async def test_addresses_become_data_and_the_rest_stays() -> None:
    web = Web({CAT: Fetched("image/png", PNG)})
    request = _asking(TextPart("What?"), ImagePart(CAT, "low"), ImagePart(DATA), ImagePart(CAT))
    assert await inline(request, web) == _asking(
        TextPart("What?"), ImagePart(DATA, "low"), ImagePart(DATA), ImagePart(DATA)
    )
    assert web.asked == [CAT]


async def test_a_request_without_addresses_is_the_same() -> None:
    request = _asking(TextPart("What?"), ImagePart(DATA))
    assert await inline(request, Web({})) is request


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
    ],
)
async def test_an_image_that_its_host_calls_something_else(body: bytes, expected: str) -> None:
    fitted = await inline(_asking(ImagePart(CAT)), Web({CAT: Fetched("application/octet-stream", body)}))
    (part,) = fitted.messages[0].content
    assert isinstance(part, ImagePart)
    assert part.url.startswith(f"data:{expected};base64,")


@pytest.mark.parametrize(
    "found",
    [
        URLRefused("The URL may not be called."),
        FetchFailed("The URL answered with HTTP 404."),
        Fetched("text/html", b"<html>"),
    ],
    ids=["refused", "failed", "no image"],
)
async def test_an_image_that_cannot_be_had_is_named(found: Fetched | Exception) -> None:
    web = Web({CAT: found, "https://images.test/dog.png": Fetched("image/png", PNG)})
    request = _asking(TextPart("What?"), ImagePart("https://images.test/dog.png"), ImagePart(CAT))
    with pytest.raises(Unsupported) as refused:
        await inline(request, web)
    assert refused.value.param == "messages[0].content[2]"
    assert refused.value.words


async def test_too_many_images_are_not_fetched_at_all() -> None:
    web = Web({})
    parts = [ImagePart(f"https://images.test/{i}.png") for i in range(images.MAX_IMAGES + 1)]
    with pytest.raises(Unsupported):
        await inline(_asking(*parts), web)
    assert web.asked == []


async def test_images_that_are_too_large_together_are_refused() -> None:
    large = Fetched("image/png", PNG + bytes(images.MAX_IMAGE_BYTES - len(PNG)))
    urls = [f"https://images.test/{i}.png" for i in range(3)]
    with pytest.raises(Unsupported) as refused:
        await inline(_asking(*map(ImagePart, urls)), Web(dict.fromkeys(urls, large)))
    assert str(images.MAX_BYTES) in refused.value.words


async def test_a_few_are_fetched_at_once_and_no_more() -> None:
    urls = [f"https://images.test/{i}.png" for i in range(20)]
    web = Web(dict.fromkeys(urls, Fetched("image/png", PNG)))
    await inline(_asking(*map(ImagePart, urls)), web)
    assert sorted(web.asked) == sorted(urls)
    assert web.most_at_once == images.AT_ONCE


async def test_images_that_never_come_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "ALL_S", 0.05)

    async def never(url: str, *, max_bytes: int, timeout_s: float) -> Fetched:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    with pytest.raises(Unsupported) as refused:
        await inline(_asking(ImagePart(CAT)), never)
    assert "in time" in refused.value.words


async def test_the_pipeline_inlines_for_those_that_need_it_and_once_for_all_of_them() -> None:
    web = Web({CAT: Fetched("image/png", PNG)})
    adapter = Gemini()
    with GeminiUpstream() as first, GeminiUpstream() as second:
        first.script(fault="quota")
        upstreams = [
            candidate(adapter, name=name, target=Target("gemini", upstream.base_url, name))
            for name, upstream in (("first", first), ("second", second))
        ]
        execution = Execution(job(*upstreams, request=_asking(TextPart("What?"), ImagePart(CAT))), fetch=web)
        events = [event async for event in execution.events()]
        assert events
        assert execution.answer().text == "You said: What?"
        assert web.asked == [CAT]
        for upstream in (first, second):
            (record,) = upstream.records
            inline_data = record.body["contents"][0]["parts"][1]["inlineData"]
            assert inline_data == {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}
    await adapter.close()


async def test_an_image_that_cannot_be_had_is_the_callers_mistake() -> None:
    adapter = Gemini()
    with GeminiUpstream() as upstream:
        target = candidate(adapter, target=Target("gemini", upstream.base_url, "m"))
        request = _asking(TextPart("What?"), ImagePart(CAT))
        execution = Execution(job(target, request=request), fetch=Web({CAT: URLRefused()}))
        with pytest.raises(ParleyError) as refused:
            [event async for event in execution.events()]
        assert refused.value.status == 400
        assert (refused.value.details or {})["param"] == "messages[0].content[1]"
        assert upstream.records == []
    await adapter.close()
