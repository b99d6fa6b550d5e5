"""One span per completion, with OpenTelemetry's conventions for generative AI (still in development there).

Names as in the semantic conventions: span `chat {model}`, attributes `gen_ai.*`, `error.type`. Neither prompts nor answers are
in it.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from providers.pipeline.values import Job, Result

_tracer = trace.get_tracer("parley.pipeline")
_RECORD_NOTHING = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
_NO_SPAN: AbstractContextManager[Span] = nullcontext(trace.INVALID_SPAN)


def completion_span(job: Job) -> AbstractContextManager[Span]:
    """The span of a job, from accept to settle. Where nobody records spans there is nothing to be made."""
    if isinstance(trace.get_tracer_provider(), _RECORD_NOTHING):
        return _NO_SPAN
    return _span(job)


@contextmanager
def _span(job: Job) -> Iterator[Span]:
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": job.request.model,
        "parley.request.id": str(job.request_id),
        "parley.tenant.id": str(job.payer.tenant_id),
    }
    with _tracer.start_as_current_span(
        f"chat {job.request.model}", kind=SpanKind.CLIENT, attributes=attributes
    ) as span:
        yield span


def describe(span: Span, result: Result) -> None:
    """Write how the job ended into its span, and each attempt as an event."""
    if not span.is_recording():
        return
    for attempt in result.attempts:
        span.add_event(
            "attempt",
            {
                "gen_ai.provider.name": attempt.candidate.target.provider,
                "gen_ai.response.model": attempt.candidate.target.model,
                "parley.attempt.status": attempt.status,
                "parley.attempt.latency_ms": attempt.latency_ms,
                **({"error.type": attempt.error.code} if attempt.error else {}),
            },
        )
    if result.attempts:
        last = result.attempts[-1]
        span.set_attribute("gen_ai.provider.name", last.candidate.target.provider)
        span.set_attribute("gen_ai.response.model", last.candidate.target.model)
        if last.finish_reason:
            span.set_attribute("gen_ai.response.finish_reasons", [last.finish_reason])
        if last.ttft_ms is not None:
            span.set_attribute("gen_ai.server.time_to_first_token", last.ttft_ms / 1000)
    span.set_attribute("gen_ai.usage.input_tokens", result.answer.usage.prompt)
    span.set_attribute("gen_ai.usage.output_tokens", result.answer.usage.completion)
    if result.error is not None:
        span.set_attribute("error.type", result.error.code)
        span.set_status(Status(StatusCode.ERROR, result.error.code))
