"""The answer to one line: what the endpoint would have said to the same body."""

import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kernel.errors import InvalidRequest, ParleyError, RateLimited, Unavailable
from providers.gateway.openai import ChatCompletions, Embeddings, TextCompletions
from providers.gateway.responses import read_response
from providers.gateway.surface import Surface
from providers.pipeline import run
from providers.pipeline.accept import accept
from providers.pipeline.values import Wishes
from providers.requests.record import record_refusal
from providers.types import Request
from tenants.principals import Principal

WISHES = Wishes(priority="batch")
SURFACES: Mapping[str, Surface[Any]] = {
    "/v1/chat/completions": ChatCompletions(),
    "/v1/completions": TextCompletions(),
    "/v1/embeddings": Embeddings(),
}


class PutOff(Exception):
    """The line can be asked again after `wait_s`. `used`: something was recorded under its id already."""

    def __init__(self, error: ParleyError, *, used: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.used = used
        self.wait_s = float(getattr(error, "retry_after_s", 1))


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body, as the endpoint answers."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class _Read:
    surface: Surface[Any]
    asked: Request
    keep: Callable[[], Awaitable[None]]


async def answer_line(*, principal: Principal, endpoint: str, body: bytes, request_id: uuid.UUID) -> Answer:
    """Ask, by the same pipeline as everybody. A line that fails has the endpoint's error for an answer.

    Raises `PutOff` while limits or load are in the way, and `NotAuthenticated` or `PermissionDenied` of the suspended
    when the caller's credential holds no more.
    """
    error_format = SURFACES.get(endpoint, SURFACES["/v1/chat/completions"])
    try:
        read = await _read(principal, endpoint, body)
        if getattr(read.asked, "stream", False):
            raise InvalidRequest("Lines of a batch can't be streamed.", details={"param": "stream"})
        return await _answer(principal, read, request_id)
    except ParleyError as error:
        if error.status == 401 or (error.details or {}).get("reason") == "suspended":
            raise
        status, said, _ = error_format.error(error, request_id=request_id)
        return Answer(status, said)


async def _read(principal: Principal, endpoint: str, body: bytes) -> _Read:
    if endpoint == "/v1/responses":
        surface, asked, keeper = await read_response(principal, body)
        return _Read(surface, asked, keeper)
    surface_of_others = SURFACES[endpoint]
    return _Read(surface_of_others, surface_of_others.parse(body, {}), _nothing_to_keep)


async def _nothing_to_keep() -> None:
    return None


async def _answer(principal: Principal, read: _Read, request_id: uuid.UUID) -> Answer:
    began = time.perf_counter()
    try:
        job = await accept(
            principal=principal, request=read.asked, request_id=request_id, surface=read.surface.name, wishes=WISHES
        )
        answering = await run.start(job)
    except (RateLimited, Unavailable) as error:
        raise PutOff(error, used=False) from error
    except ParleyError as error:
        record_refusal(
            principal=principal,
            request_id=request_id,
            surface=read.surface.name,
            alias=read.asked.model,
            error=error,
            latency_s=time.perf_counter() - began,
        )
        raise
    try:
        answer = await answering.answer()
    except (RateLimited, Unavailable) as error:
        raise PutOff(error, used=bool(answering.result and answering.result.attempts)) from error
    finally:
        # Whoever is cancelled here must not leave it running for nobody.
        answering.disconnect()
    body = read.surface.answer(answer, read.asked, request_id=request_id, created=int(time.time()))
    await read.keep()
    return Answer(200, body)
