"""Rooms' questions, answered by the completion pipeline."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import msgspec

from billing.types import METERS
from chat.answering import Answer, Aside, Ending, Orphan, Piece, Question, Said, SeenFile, Window
from chat.parts import joined
from chat.shapes import Usage
from kernel.errors import ParleyError
from kernel.ids import uuid7
from providers.capabilities import known_capabilities
from providers.estimate import TOKENS_PER_MESSAGE, estimate_input, estimate_tokens
from providers.pipeline import run
from providers.pipeline.accept import accept
from providers.pipeline.answering import Answering
from providers.pipeline.hold import DEFAULT_CAP_TOKENS
from providers.pipeline.record import OrphanFacts, orphan_facts, record_orphan, sold_nano
from providers.pipeline.values import NO_WISHES, Job, Wishes
from providers.profiles import profile
from providers.route_rows import WILDCARD
from providers.routes import DEFAULT_MODEL, ModelNotFound, list_models, model_of_role, resolve_route
from providers.types import ChatRequest, ImagePart, Message, Part, ReasoningDelta, TextDelta, TextPart, ToolCallDelta
from tenants.principals import Principal

SUBJECT = "room"
_ANEW = Wishes(use_cache=False)


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

    async def helper_model(self, *, principal: Principal, purpose: Literal["title", "summary"], alias: str) -> str:
        """The tenant's model of that role, else the one given."""
        chosen = await model_of_role(principal, purpose)
        with suppress(ModelNotFound):
            if chosen is not None:
                return (await resolve_route(principal, chosen)).alias
        return alias

    async def window(self, *, principal: Principal, alias: str) -> Window:
        """The least that any deployment of the model reads, and what its route lets it write."""
        route = await resolve_route(principal, alias)
        known = [profile(deployment.model).context_tokens for deployment in route.deployments]
        tokens = min((tokens for tokens in known if tokens is not None), default=None)
        return Window(tokens=tokens, answer_tokens=route.max_output_tokens or DEFAULT_CAP_TOKENS)

    def tokens_of(self, text: str) -> int:
        """By its bytes."""
        return estimate_tokens(len(text.encode())) + TOKENS_PER_MESSAGE

    async def aside(self, aside: Aside) -> Said:
        """A completion of its own: accepted, held for and settled as every other."""
        request = ChatRequest(
            model=aside.alias,
            messages=(_message("system", aside.asked), _message("user", aside.text)),
            max_output_tokens=aside.max_tokens,
        )
        job = await accept(
            principal=aside.principal,
            request=request,
            request_id=uuid7(),
            surface=SUBJECT,
            subject_kind=SUBJECT,
            subject_id=aside.room_id,
        )
        pump = await run.start(job, on_disconnect="stop")
        try:
            answer = await pump.answer()
        finally:
            pump.disconnect()
        cost_nano = sold_nano(pump.result) if pump.result is not None else None
        return Said(request_id=job.request_id, alias=aside.alias, text=answer.text, cost_nano=cost_nano)

    async def sees_images(self, *, principal: Principal, alias: str) -> bool:
        """Whether any deployment of the model can."""
        route = await resolve_route(principal, alias)
        known = [known_capabilities(deployment.provider, deployment.model) for deployment in route.deployments]
        return any(able is None or "images" in able for able in known)

    async def begin(self, question: Question) -> Answer:
        """Accept the question; the provider is asked when the pieces are."""
        request = _request(question)
        job = await accept(
            principal=question.principal,
            request=request,
            request_id=question.request_id,
            surface=SUBJECT,
            wishes=_ANEW if question.anew else NO_WISHES,
            subject_kind=SUBJECT,
            subject_id=question.room_id,
        )
        return _PipelineAnswer(job)

    async def settle_orphan(self, orphan: Orphan) -> Ending:
        """Bill the estimate of what was sent and of what had come."""
        facts = msgspec.convert(dict(orphan.attempt), OrphanFacts)
        event = await record_orphan(facts, output_tokens=estimate_tokens(len(joined(orphan.parts).encode())))
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

    async def pieces(self) -> AsyncIterator[Piece]:
        if self._has_ended_early():
            return
        self._pump = await run.start(self._job, on_disconnect="continue")
        if self._has_ended_early():
            self._pump.stop()
        try:
            async for event in self._pump.events():
                match event:
                    case TextDelta(text=text):
                        yield Piece(text)
                    case ReasoningDelta(text=text):
                        yield Piece(text, kind="reasoning")
                    case ToolCallDelta(arguments=arguments):
                        yield Piece(arguments, kind="tool_args")
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
    told = "\n\n".join(note for note in (question.instructions, *question.notes) if note)
    system = (_message("system", told),) if told else ()
    turns = tuple(_message(turn.role, turn.text, turn.files) for turn in question.turns)
    return ChatRequest(
        model=question.alias,
        messages=system + turns,
        temperature=question.parameters.temperature,
        top_p=question.parameters.top_p,
        max_output_tokens=question.parameters.max_output_tokens,
        stop=question.parameters.stop,
        stream=True,
        include_usage=True,
    )


def _message(role: Any, text: str, files: Sequence[SeenFile] = ()) -> Message:
    """A turn: its files, then what was said of them."""
    parts: list[Part] = [part for file in files for part in _file(file)]
    if text or not parts:
        parts.append(TextPart(text))
    return Message(role=role, content=tuple(parts))


def _file(file: SeenFile) -> Iterator[Part]:
    """A file's parts. Formats have text and images alone, so its name is said beside it."""
    note = f" ({file.note})" if file.note else ""
    if file.image is not None:
        yield TextPart(f"[File: {file.name}{note}]\n")
        yield ImagePart(file.image)
    elif file.text is not None:
        yield TextPart(f"[File: {file.name}{note}]\n{file.text}\n[End of {file.name}]\n\n")
    else:
        yield TextPart(f"[File: {file.name}{note}]\n")
