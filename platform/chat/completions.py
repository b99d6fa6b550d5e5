"""Questions of rooms, answered by the completion pipeline: the one place where rooms meet providers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from billing.pricing import charge
from billing.types import METERS, Tokens
from chat.answering import Answer, Ending, Orphan, Question
from chat.shapes import Usage
from kernel.errors import ParleyError
from providers.estimate import estimate_input, estimate_tokens
from providers.pipeline.accept import accept
from providers.pipeline.pump import Pump
from providers.pipeline.pumps import pumps
from providers.pipeline.record import OrphanFacts, orphan_facts, record_orphan, record_result
from providers.pipeline.values import Job, Result
from providers.profiles import profile
from providers.routes import ModelNotFound, list_models, resolve_route
from providers.types import ChatRequest, Message, TextDelta, TextPart
from tenants.principals import Principal

SUBJECT_KIND = "room"


class PipelineAnswering:
    """Answers through `providers.pipeline`: who asks pays, and the room is what it is for."""

    async def choose_model(self, *, principal: Principal, alias: str | None) -> str:
        """The alias given, or the first that this principal may use. Raises `ModelNotFound`."""
        if alias is not None:
            return (await resolve_route(principal, alias)).alias
        models = await list_models(principal)
        if not models:
            raise ModelNotFound("There is no model that could answer.")
        return models[0].alias

    async def context_tokens(self, *, principal: Principal, alias: str) -> int | None:
        """What the smallest of the models behind the alias reads, where that is known."""
        route = await resolve_route(principal, alias)
        known = [profile(deployment.model).context_tokens for deployment in route.deployments]
        return min((tokens for tokens in known if tokens is not None), default=None)

    async def begin(self, question: Question) -> Answer:
        """Accept the question; see `providers.pipeline.accept` for what it raises."""
        job = await accept(
            principal=question.principal,
            request=request_of(question),
            request_id=question.request_id,
            subject_kind=SUBJECT_KIND,
            subject_id=question.room_id,
        )
        return PipelineAnswer(job)

    async def settle_orphan(self, orphan: Orphan) -> Ending:
        """Bill the estimate of what was read and written."""
        facts = msgspec.convert(orphan.attempt, OrphanFacts)
        event = await record_orphan(facts, output_tokens=estimate_tokens(len(orphan.text.encode())))
        usage = Usage(**event.tokens.by_meter())
        return Ending(status="interrupted", usage=usage, cost_nano=event.charge.sell_nano)


class PipelineAnswer:
    """One job, and its pump once it runs."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._pump: Pump | None = None
        self._wish: str | None = None

    @property
    def attempt(self) -> Mapping[str, Any]:
        """The facts by which an orphan is billed."""
        facts = orphan_facts(self._job, input_tokens=estimate_input(self._job.request))
        built: dict[str, Any] = msgspec.to_builtins(facts)
        return built

    async def pieces(self) -> AsyncIterator[str]:
        """Start the pump and give its text. An answer that was interrupted ends; one that failed raises."""
        pump = self._pump = pumps.start(job=self._job, settle=record_result, on_disconnect="continue")
        if self._wish is not None:
            self._carry_out(self._wish)
        try:
            async with aclosing(pump.events()) as events:  # type: ignore[type-var]
                async for event in events:
                    if isinstance(event, TextDelta) and event.index == 0 and event.text:
                        yield event.text
        except ParleyError:
            if pump.result is None or pump.result.status != "interrupted":
                raise
        finally:
            pump.disconnect()

    def stop(self) -> None:
        """Stop the pump, or don't let it begin."""
        self._carry_out("stop")

    def interrupt(self) -> None:
        """Interrupt the pump."""
        self._carry_out("interrupt")

    def _carry_out(self, wish: str) -> None:
        self._wish = self._wish or wish
        if self._pump is None:
            return
        if wish == "stop":
            self._pump.stop()
        else:
            self._pump.interrupt()

    @property
    def ending(self) -> Ending | None:
        """What the pump's result says, with the usage and the price of all attempts."""
        result = self._pump.result if self._pump else None
        if result is None:
            return None
        tokens = _tokens(result)
        return Ending(
            status=result.status,
            usage=Usage(**{meter: sum(getattr(each, meter) for each in tokens) for meter in METERS}),
            cost_nano=sum(
                charge(each, attempt.candidate.deployment.tariff).sell_nano
                for each, attempt in zip(tokens, result.attempts, strict=True)
            ),
        )


def _tokens(result: Result) -> list[Tokens]:
    return [Tokens(**{meter: getattr(attempt.usage, meter) for meter in METERS}) for attempt in result.attempts]


def request_of(question: Question) -> ChatRequest:
    """The question as the pipeline takes it."""
    turns = [Message(role=turn.role, content=(TextPart(turn.text),)) for turn in question.turns]
    if question.instructions.strip():
        turns.insert(0, Message(role="system", content=(TextPart(question.instructions),)))
    return ChatRequest(model=question.alias, messages=tuple(turns), stream=True, include_usage=True)
