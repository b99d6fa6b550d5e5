"""`/v1/responses`: to make a response, to look at one that is kept, to delete it, and to list what it was asked."""

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from msgspec import Raw

from kernel.errors import InvalidRequest
from providers import responses
from providers.adapters.openai_responses import WIRE_FORMAT
from providers.adapters.openai_responses.ids import response_id
from providers.adapters.openai_responses.request_in import (
    CARRIED,
    AskedResponse,
    chat_request,
    input_items,
    parse_response_request,
)
from providers.adapters.openai_responses.response import JSON
from providers.adapters.openai_responses.stream_out import ResponseWriter
from providers.gateway.completions import answer_request
from providers.gateway.http import Request, Responder
from providers.gateway.openai import OpenAIErrors
from providers.gateway.query import Query, choice, limit, one, read_query
from providers.gateway.surface import FrameWriter, Surface
from providers.responses import Kept
from providers.types import ChatAnswer, ChatRequest
from tenants.principals import Principal

PAGE = 20
MAX_PAGE = 100
_SWITCHES = {"true": True, "1": True, "false": False, "0": False}


class _Content(msgspec.Struct):
    """What is kept of a response: the items of its input, itself, and what its thoughts carry (`FinishedResponse`)."""

    input: list[Raw]
    response: Raw
    sealed: dict[str, str]


class _Output(msgspec.Struct):
    output: list[Raw]


class _Named(msgspec.Struct):
    id: str


_content = msgspec.json.Decoder(_Content)
_output = msgspec.json.Decoder(_Output)
_named = msgspec.json.Decoder(_Named)


class Responses(OpenAIErrors, Surface[ChatRequest]):
    """OpenAI's responses: the surface of one request, which was read by `create_response`."""

    name = WIRE_FORMAT
    says_back = True

    def __init__(self, asked: AskedResponse) -> None:
        self._asked = asked
        self.written: ResponseWriter | None = None

    def parse(self, body: bytes, headers: Mapping[str, str]) -> ChatRequest:
        return chat_request(parse_response_request(body))

    def answer(self, answer: ChatAnswer, asked: ChatRequest, *, request_id: uuid.UUID, created: int) -> bytes:
        self.written = ResponseWriter(self._asked, response_id=request_id, created=created)
        return self.written.whole(answer)

    def writer(self, asked: ChatRequest, *, request_id: uuid.UUID, created: int) -> FrameWriter:
        self.written = ResponseWriter(self._asked, response_id=request_id, created=created)
        return self.written


class _Keeper:
    """Keeps a response as soon as it is finished, once, before anything more is sent."""

    def __init__(self, principal: Principal, surface: Responses, asked: AskedResponse, items: Sequence[Raw]) -> None:
        self._principal = principal
        self._surface = surface
        self._asked = asked
        self._items = items
        self._kept = False

    async def keep(self) -> None:
        """Nothing to do before the response is finished, or when it is kept. Raises Unavailable."""
        finished = self._surface.written and self._surface.written.finished
        if self._kept or not finished:
            return
        # Also when it can't be kept: whoever asked has to be told, and that too is sent.
        self._kept = True
        content = _Content(
            input=input_items(self._items, finished.id),
            response=Raw(msgspec.json.encode(finished.response)),
            sealed=finished.sealed,
        )
        previous = self._asked.wire.previous_response_id
        await responses.keep_response(
            principal=self._principal,
            response_id=finished.id,
            previous_id=response_id(previous) if previous else None,
            content=msgspec.json.encode(content),
        )


async def create_response(request: Request, responder: Responder, principal: Principal) -> None:
    """Make a response. Unless it is not to be stored, it is durable before its end is sent."""
    began = time.perf_counter()
    surface, wanted, keep = await read_response(principal, await request.body())
    responder.before_sending = keep
    await answer_request(request, responder, principal, surface, wanted, began=began)


async def read_response(
    principal: Principal, body: bytes
) -> tuple[Responses, ChatRequest, Callable[[], Awaitable[None]]]:
    """What a body asks for, with all that it goes on from; and what is to be awaited before each piece of the answer is
    sent, so that it is kept."""
    asked = parse_response_request(body)
    earlier: list[Raw] = []
    if (previous := asked.wire.previous_response_id) is not None:
        for kept in await responses.access_chain(principal=principal, response_id=response_id(previous)):
            earlier.extend(_turns(kept))
    items = asked.items
    if references := asked.references:
        items = asked.followed(await _items_of(principal, tuple(references)))
    surface = Responses(asked)
    keep = _Keeper(principal, surface, asked, items).keep if asked.stored else _nothing_to_keep
    return surface, chat_request(asked, earlier=earlier, items=items), keep


async def _nothing_to_keep() -> None:
    return None


def _turns(kept: Kept) -> list[Raw]:
    """The items of a kept response, input and output, as they are given back to a model."""
    content = _content.decode(kept.content)
    return [*content.input, *_carrying(content)]


def _carrying(content: _Content) -> list[Raw]:
    """The items of the output, thoughts with what they carry."""
    output = _output.decode(content.response).output
    if not content.sealed:
        return output
    return [_sealed(item, content.sealed) for item in output]


def _sealed(item: Raw, sealed: Mapping[str, str]) -> Raw:
    said = sealed.get(_named.decode(item).id)
    if said is None:
        return item
    return Raw(msgspec.json.encode(msgspec.json.decode(item, type=dict[str, object]) | {"encrypted_content": said}))


async def _items_of(principal: Principal, response_ids: tuple[uuid.UUID, ...]) -> dict[str, Raw]:
    """The items of kept responses, by name."""
    found = await responses.access_responses(principal=principal, response_ids=response_ids)
    return {_named.decode(item).id: item for kept in found for item in _turns(kept)}


async def retrieve_response(request: Request, responder: Responder, principal: Principal) -> None:
    """A response that is kept. Raises `ResponseNotFound`."""
    asked = read_query(request)
    if _switch(asked, "stream"):
        raise InvalidRequest("A response that is kept is not streamed.", details={"param": "stream"})
    content = _content.decode((await _accessed(request, principal)).content)
    body = bytes(content.response)
    if content.sealed and CARRIED in {*asked.get("include[]", ()), *asked.get("include", ())}:
        fields = msgspec.json.decode(body, type=dict[str, Raw])
        body = msgspec.json.encode({**fields, "output": _carrying(content)})
    await responder.whole(200, body)


async def delete_response(request: Request, responder: Responder, principal: Principal) -> None:
    """Delete a response that is kept. Raises `ResponseNotFound`."""
    named = response_id(_name(request))
    await responses.delete_response(principal=principal, response_id=named)
    body: JSON = {"id": _name(request), "object": "response", "deleted": True}
    await responder.whole(200, msgspec.json.encode(body))


async def list_input_items(request: Request, responder: Responder, principal: Principal) -> None:
    """What a response that is kept was asked, by pages; the last item first unless `order` is `asc`."""
    asked = read_query(request)
    items = _content.decode((await _accessed(request, principal)).content).input
    order = choice(asked, "order", ("desc", "asc"))
    if order == "desc":
        items = items[::-1]
    names = [_named.decode(item).id for item in items]
    if after := one(asked, "after"):
        if after not in names:
            raise InvalidRequest("There is no such item in this response.", details={"param": "after"})
        start = names.index(after) + 1
        items, names = items[start:], names[start:]
    count = limit(asked, default=PAGE, most=MAX_PAGE)
    page: JSON = {
        "object": "list",
        "data": items[:count],
        "first_id": names[0] if names else None,
        "last_id": names[:count][-1] if names else None,
        "has_more": len(items) > count,
    }
    await responder.whole(200, msgspec.json.encode(page))


def _name(request: Request) -> str:
    return request.path.removeprefix("/v1/responses/").removesuffix("/input_items")


async def _accessed(request: Request, principal: Principal) -> Kept:
    return await responses.access_response(principal=principal, response_id=response_id(_name(request)))


def _switch(query: Query, name: str) -> bool:
    said = one(query, name) or "false"
    if said.lower() not in _SWITCHES:
        raise InvalidRequest(f"`{name}` is `true` or `false`.", details={"param": name})
    return _SWITCHES[said.lower()]
