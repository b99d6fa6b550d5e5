"""The response object: what was asked, as it is said back, with what came of it."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec
from msgspec import Raw

from kernel.errors import ParleyError
from providers.adapters.openai.bodies import given
from providers.adapters.openai_responses.ids import response_name
from providers.adapters.openai_responses.request_in import AskedResponse
from providers.adapters.reading import one_line
from providers.types import FinishReason, Usage

JSON = dict[str, object]
Value = TypeVar("Value")
Status = Literal["in_progress", "completed", "incomplete", "failed"]

_CUT_SHORT: dict[FinishReason, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class FinishedResponse:
    """A response that has come to its end. `sealed` holds, by the names of its thoughts, what their model's format wants
    back with them; `response` shows it only to those who asked for it."""

    id: uuid.UUID
    response: JSON
    sealed: dict[str, str]


def ending(reason: FinishReason) -> tuple[Status, JSON | None]:
    """A response's status and `incomplete_details`, by how its answer ended."""
    why = _CUT_SHORT.get(reason)
    return ("completed", None) if why is None else ("incomplete", {"reason": why})


def error_json(error: ParleyError) -> JSON:
    """Why a response failed."""
    return {"code": error.code, "message": error.message}


def usage_json(usage: Usage) -> JSON:
    """The meters as this format counts them: cached tokens are part of the input, reasoning of the output."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }


class ResponseObject:
    """The response to one request. `created` is in seconds since 1970."""

    def __init__(self, asked: AskedResponse, *, response_id: uuid.UUID, created: int) -> None:
        said = asked.wire
        self._head: JSON = {
            "id": response_name(response_id),
            "object": "response",
            "created_at": created,
        }
        self._tail: JSON = {
            "background": False,
            "instructions": said.instructions,
            "max_output_tokens": said.max_output_tokens,
            "max_tool_calls": said.max_tool_calls,
            "metadata": said.metadata or {},
            "model": said.model,
            "parallel_tool_calls": said.parallel_tool_calls is not False,
            "previous_response_id": said.previous_response_id,
            "reasoning": {
                "effort": said.reasoning.effort if said.reasoning else None,
                "summary": said.reasoning.summary if said.reasoning else None,
            },
            "store": asked.stored,
            "temperature": 1.0 if said.temperature is None else said.temperature,
            "text": _text(asked),
            "tool_choice": _as_asked(asked, "tool_choice", "auto"),
            "tools": _as_asked(asked, "tools", []),
            "top_logprobs": said.top_logprobs or 0,
            "top_p": 1.0 if said.top_p is None else said.top_p,
            "truncation": "disabled",
        }
        for name in ("prompt_cache_key", "safety_identifier", "service_tier", "user"):
            value = _as_asked(asked, name, None)
            if value is not None:
                self._tail[name] = value

    def json(
        self,
        status: Status,
        *,
        output: Sequence[JSON] = (),
        usage: Usage | None = None,
        incomplete: JSON | None = None,
        error: JSON | None = None,
    ) -> JSON:
        """The object as it stands."""
        return {
            **self._head,
            "status": status,
            "error": error,
            "incomplete_details": incomplete,
            "output": output,
            **self._tail,
            "usage": None if usage is None else usage_json(usage),
        }


def _text(asked: AskedResponse) -> JSON:
    text = _as_asked(asked, "text", None)
    said = {} if text is None else msgspec.json.decode(text, type=dict[str, Raw])
    return {"format": {"type": "text"}, "verbosity": "medium"} | {
        key: value for key, value in said.items() if given(value) is not None
    }


def _as_asked(asked: AskedResponse, name: str, otherwise: Value) -> Raw | Value:
    said = given(asked.fields.get(name))
    return otherwise if said is None else Raw(one_line(bytes(said)))
