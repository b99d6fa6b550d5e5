"""Rooms' questions, answered by the completion pipeline."""

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from billing.types import METERS
from chat.answering import Answer, Ending, Orphan, Question
from chat.shapes import Usage
from kernel.errors import ParleyError
from providers.estimate import estimate_input, estimate_tokens
from providers.pipeline import run
from providers.pipeline.accept import accept
from providers.pipeline.answering import Answering
from providers.pipeline.record import OrphanFacts, orphan_facts, record_orphan, sold_nano
from providers.pipeline.values import Job
from providers.profiles import profile
from providers.route_rows import WILDCARD
from providers.routes import DEFAULT_MODEL, ModelNotFound, list_models, resolve_route
from providers.types import ChatRequest, Message, TextDelta, TextPart
from tenants.principals import Principal

SUBJECT = "room"


class PipelineAnswering:
    """`chat.answering.Answering` by way of `providers.pipeline`."""

    async def choose_model(self, *, principal: Principal, alias: str | None) -> str:
        """The alias given, if the principal may use it, else the tenant's default, else the first one they may."""
        if alias is not None:
            return (await resolve_route(principal, alias)).alias
        with suppress(ModelNotFound):
            return (await resolve_route(principal, DEFAULT_MODEL)).alias
        named = [model.alias for model in await list_models(principal) if not model.alias.endswith(WILDCARD)]
        if not named:
            raise ModelNotFound("There is no model that you may use yet.")
        return named[0]

    async def context_tokens(self, *, principal: Principal, alias: str) -> int | None:
        """The least that any deployment of the model reads."""
        route = await resolve_route(principal, alias)
        known = [profile(deployment.model).context_tokens for deployment in route.deployments]
        return min((tokens for tokens in known if tokens is not None), default=None)

    async def begin(self, question: Question) -> Answer:
        """Accept the question; the provider is asked when the pieces are."""
        request = _request(question)
        job = await accept(
            principal=question.principal,
            request=request,
            request_id=question.request_id,
            surface=SUBJECT,
            subject_kind=SUBJECT,
            subject_id=question.room_id,
        )
        return _PipelineAnswer(job)

    async def settle_orphan(self, orphan: Orphan) -> Ending:
        """Bill the estimate of what was sent and of what had come."""
        facts = msgspec.convert(dict(orphan.attempt), OrphanFacts)
        event = await record_orphan(facts, output_tokens=estimate_tokens(len(orphan.text.encode())))
        return Ending(
            status="interrupted",
            usage=Usage(**event.tokens.by_meter()),
            cost_nano=event.charge.sell_nano,
        )


class _PipelineAnswer:
    """One answer. Its pump starts when it is first read, after what it is billed by was stored."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._pump: Answering | None = None
        self._ended_early: Ending | None = None

    @property
    def attempt(self) -> Mapping[str, Any]:
        facts = orphan_facts(self._job, input_tokens=estimate_input(self._job.request))
        stored: dict[str, Any] = msgspec.to_builtins(facts)
        return stored

    async def pieces(self) -> AsyncIterator[str]:
        if self._has_ended_early():
            return
        self._pump = await run.start(self._job, on_disconnect="continue")
        if self._has_ended_early():
            self._pump.stop()
        try:
            async for event in self._pump.events():
                if isinstance(event, TextDelta):
                    yield event.text
        except ParleyError:
            # An answer that a restart interrupts is no failure: what came of it stands.
            if not (self._pump.result and self._pump.result.status == "interrupted"):
                raise
        finally:
            self._pump.disconnect()

    def _has_ended_early(self) -> bool:
        return self._ended_early is not None

    def stop(self) -> None:
        if self._pump is not None:
            self._pump.stop()
        else:
            self._ended_early = Ending(status="stopped")

    def interrupt(self) -> None:
        if self._pump is not None:
            self._pump.interrupt()
        else:
            self._ended_early = Ending(status="interrupted")

    @property
    def ending(self) -> Ending | None:
        if self._ended_early is not None:
            return self._ended_early
        result = self._pump.result if self._pump else None
        if result is None:
            return None
        # An answer that was asked for before, by this question or another, has its tokens still, and costs nothing.
        used = [attempt.usage for attempt in result.attempts] or [result.answer.usage]
        usage = {meter: sum(getattr(each, meter) for each in used) for meter in METERS}
        return Ending(status=result.status, usage=Usage(**usage), cost_nano=sold_nano(result))


def _request(question: Question) -> ChatRequest:
    system = (_message("system", question.instructions),) if question.instructions else ()
    turns = tuple(_message(turn.role, turn.text) for turn in question.turns)
    return ChatRequest(model=question.alias, messages=system + turns, stream=True, include_usage=True)


def _message(role: Any, text: str) -> Message:
    return Message(role=role, content=(TextPart(text),))
