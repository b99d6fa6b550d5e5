"""Images by address, fetched and sent along as data, for upstreams that fetch none themselves.

Only `https` addresses that are public are called: whoever asks has chosen them (see `kernel.egress`)."""

import asyncio
from base64 import b64encode
from collections.abc import Coroutine, Iterator, Sequence
from typing import Protocol

from msgspec.structs import replace

from kernel.egress import EgressError, Fetched
from providers.errors import Unsupported
from providers.types import ChatRequest, ImagePart, Message, Part

MAX_IMAGES = 32
"""That are fetched for one request."""
MAX_IMAGE_BYTES = 10 * 1024 * 1024
MAX_BYTES = 20 * 1024 * 1024
"""Of all images of one request."""
FETCH_S = 10.0
"""How long one image may take, in seconds; and ALL_S all of them."""
ALL_S = 20.0
AT_ONCE = 4

_SIGNATURES = ((b"\x89PNG\r\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_WEBP = (b"RIFF", b"WEBP")


class Fetch(Protocol):
    """How a document is fetched: `kernel.egress.fetch`."""

    async def __call__(self, url: str, *, max_bytes: int, timeout_s: float) -> Fetched: ...


async def inline(request: ChatRequest, fetch: Fetch, *, known: dict[str, str] | None = None) -> ChatRequest:
    """The request with data in place of the addresses of its images. `known` holds data by address: it is used, and
    what was fetched is added. Raises Unsupported, which names a part whose image can't be had."""
    wanted = dict(_by_address(request))
    if not wanted:
        return request
    data = {} if known is None else known
    if len(wanted) > MAX_IMAGES:
        raise Unsupported(f"At most {MAX_IMAGES} images are fetched for a request.", param=wanted[list(wanted)[-1]])
    data |= await _fetch_all({url: param for url, param in wanted.items() if url not in data}, fetch)
    return replace(request, messages=tuple(_with_data(message, data) for message in request.messages))


def _by_address(request: ChatRequest) -> Iterator[tuple[str, str]]:
    """The addresses of images, and where they are. The last of the same ones holds."""
    for i, message in enumerate(request.messages):
        for j, part in enumerate(message.content):
            if isinstance(part, ImagePart) and not part.url.startswith("data:"):
                yield part.url, f"messages[{i}].content[{j}]"


async def _fetch_all(wanted: dict[str, str], fetch: Fetch) -> dict[str, str]:
    """The data URLs of these addresses."""
    found: dict[str, str] = {}
    some = asyncio.Semaphore(AT_ONCE)
    total = 0

    async def get(url: str, param: str) -> None:
        nonlocal total
        async with some:
            fetched = await _image(url, param, fetch)
        total += len(fetched.body)
        if total > MAX_BYTES:
            raise Unsupported(f"The images of a request are larger than {MAX_BYTES} bytes.", param=param)
        found[url] = f"data:{fetched.content_type};base64,{b64encode(fetched.body).decode()}"

    try:
        async with asyncio.timeout(ALL_S):
            await _together([get(url, param) for url, param in wanted.items()])
    except TimeoutError as error:
        raise Unsupported("The images could not be fetched in time.", param=next(iter(wanted.values()))) from error
    return found


async def _together(fetches: Sequence[Coroutine[None, None, None]]) -> None:
    """Wait for all, or for the first that fails, which ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for fetching in fetches:
                group.create_task(fetching)
    except* Unsupported as failed:
        raise _first(failed) from None


def _first(failed: BaseExceptionGroup[Unsupported]) -> Unsupported:
    first = failed.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def _image(url: str, param: str, fetch: Fetch) -> Fetched:
    try:
        fetched = await fetch(url, max_bytes=MAX_IMAGE_BYTES, timeout_s=FETCH_S)
    except EgressError as error:
        raise Unsupported(f"The image could not be fetched: {error.message}", param=param) from error
    media_type = fetched.content_type if fetched.content_type.startswith("image/") else _sniffed(fetched.body)
    if media_type is None:
        raise Unsupported("What is at the image's address is no image.", param=param)
    return Fetched(media_type, fetched.body)


def _sniffed(body: bytes) -> str | None:
    if (body[:4], body[8:12]) == _WEBP:
        return "image/webp"
    return next((name for signature, name in _SIGNATURES if body.startswith(signature)), None)


def _with_data(message: Message, data: dict[str, str]) -> Message:
    if not any(isinstance(part, ImagePart) for part in message.content):
        return message
    return replace(message, content=tuple(_part(part, data) for part in message.content))


def _part(part: Part, data: dict[str, str]) -> Part:
    return replace(part, url=data.get(part.url, part.url)) if isinstance(part, ImagePart) else part
