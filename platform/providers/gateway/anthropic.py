"""Anthropic's API: `/v1/messages`, `/v1/messages/count_tokens`, and how it lists models."""

import uuid
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs

import msgspec

from kernel.errors import InvalidRequest, ParleyError
from providers.adapters.anthropic import WIRE_FORMAT
from providers.adapters.anthropic.answer_out import PING, StreamWriter, encode_answer, message_id
from providers.adapters.anthropic.errors import encode_error, status_of
from providers.adapters.anthropic.models_out import encode_models
from providers.adapters.anthropic.request_in import parse_messages_request
from providers.errors import Failure, ProviderError, Transient, caller_error
from providers.estimate import estimate_input
from providers.gateway.http import Request, Responder, whole_number
from providers.gateway.surface import FrameWriter, Surface
from providers.gateway.wishes import read_wishes
from providers.guardrails.stage import inspect
from providers.limits.headers import LimitExceeded, anthropic_headers
from providers.limits.stage import admit
from providers.pipeline.accept import accept
from providers.pipeline.values import Job
from providers.routes import ModelEntry
from providers.translate import fit
from providers.types import ChatAnswer, ChatRequest
from tenants.principals import Principal

_NOT_MENDED_BY_RETRYING = frozenset({402})
PAGE_DEFAULT = 20
PAGE_MAX = 1_000


class AnthropicErrors:
    """Errors as Anthropic's clients read them."""

    def error(self, error: ParleyError, *, request_id: uuid.UUID) -> tuple[int, bytes, Mapping[str, str]]:
        headers = dict(error.headers)
        if isinstance(error, LimitExceeded):
            headers |= anthropic_headers(error.states)
        if error.status in _NOT_MENDED_BY_RETRYING:
            headers["x-should-retry"] = "false"
        return status_of(error), encode_error(error, request_id=request_id), headers


class Messages(AnthropicErrors, Surface[ChatRequest]):
    """Anthropic's messages."""

    name = WIRE_FORMAT
    ping = PING

    def parse(self, body: bytes, headers: Mapping[str, str]) -> ChatRequest:
        return parse_messages_request(body, headers)

    def answer(self, answer: ChatAnswer, asked: ChatRequest, *, request_id: uuid.UUID, created: int) -> bytes:
        return encode_answer(answer, answer_id=message_id(request_id), model=asked.model)

    def writer(self, asked: ChatRequest, *, request_id: uuid.UUID, created: int) -> FrameWriter:
        return StreamWriter(asked=asked, request_id=request_id)


def speaks_anthropic(request: Request) -> bool:
    """Whether a request for what several APIs have comes from a client of this one."""
    return "anthropic-version" in request.headers


async def count_tokens(request: Request, responder: Responder, principal: Principal) -> None:
    """How many tokens a request has: what its provider says, or an estimate where there is none to ask. Uses, and
    bills, none: of the caller's limits it takes a request, and no tokens."""
    asked = parse_messages_request(await request.body(), request.headers, counting=True)
    job = await accept(
        principal=principal,
        request=asked,
        request_id=request.id,
        surface=WIRE_FORMAT,
        wishes=read_wishes(request.headers),
    )
    # Providers read what is counted, so it is held against the rules.
    job = (await inspect(job)).job
    await admit(job, takes_tokens=False)
    counted, said = await _counted(job)
    headers = {"x-parley-estimated": "true"} if said is None else {"x-parley-provider": said}
    await responder.whole(200, msgspec.json.encode({"input_tokens": counted}), headers=headers | job.report.headers)


async def _counted(job: Job) -> tuple[int, str | None]:
    """The count, and the provider that made it; None if none did. Raises the error of a request that is not taken."""
    for candidate in job.candidates:
        try:
            wishes = job.wishes
            fitted = fit(job.request, candidate.adapter, model=candidate.target.model, drop=wishes.drop_params).request
            if not isinstance(fitted, ChatRequest):
                continue
            counted = await candidate.adapter.count_tokens(fitted, candidate.target, job.timeouts)
        except Transient:
            continue
        except ProviderError as error:
            if error.moves_on:
                continue
            raise caller_error([Failure(candidate.target.provider, candidate.name, error)]) from error
        if counted is not None:
            return counted, candidate.target.provider
    return estimate_input(job.request), None


def page_of_models(models: Sequence[ModelEntry], query: str) -> bytes:
    """One page of the models, as `limit`, `after_id` and `before_id` of the query ask for. Raises InvalidRequest."""
    try:
        asked = parse_qs(query, max_num_fields=20)
    except ValueError as error:
        raise InvalidRequest("The query can't be read.") from error
    limit = whole_number(asked.get("limit", [str(PAGE_DEFAULT)])[-1], least=1, most=PAGE_MAX)
    if limit is None:
        raise InvalidRequest(f"`limit` takes a number from 1 to {PAGE_MAX}.", details={"param": "limit"})
    aliases = [model.alias for model in models]
    start, end, backwards = 0, len(models), "before_id" in asked
    if "after_id" in asked:
        start = _place(aliases, asked["after_id"][-1], "after_id") + 1
    if backwards:
        end = _place(aliases, asked["before_id"][-1], "before_id")
    shown = models[start:end][-limit:] if backwards else models[start:end][:limit]
    return encode_models(shown, has_more=max(0, end - start) > limit)


def _place(aliases: Sequence[str], alias: str, param: str) -> int:
    try:
        return aliases.index(alias)
    except ValueError:
        raise InvalidRequest(f"`{param}` names no model that you may use.", details={"param": param}) from None
