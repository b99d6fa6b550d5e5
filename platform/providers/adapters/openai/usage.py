"""Usage in OpenAI's format, both directions. It counts cached tokens as part of the prompt and reasoning as part of the
completion; the meters of `Usage` are disjoint."""

from collections.abc import Mapping

import msgspec
from msgspec import Raw, UnsetType

from providers.adapters.reading import Number, count, reported, usage_in
from providers.types import Usage

SERVICES: Mapping[bytes, str] = {b'"flex"': "flex", b'"priority"': "priority", b'"batch"': "batch"}
"""The service tiers, as JSON, that have prices of their own."""


class _PromptDetails(msgspec.Struct):
    cached_tokens: Number = None
    cache_write_tokens: Number = None
    audio_tokens: Number = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: Number = None
    audio_tokens: Number = None


class _UsageIn(msgspec.Struct):
    """What an upstream reports, by whichever name it has for it."""

    prompt_tokens: Number = None
    completion_tokens: Number = None
    total_tokens: Number = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    input_tokens: Number = None  # as in the Responses API
    output_tokens: Number = None
    input_tokens_details: _PromptDetails | None = None
    output_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: Number = None  # DeepSeek
    cached_tokens: Number = None  # Together
    num_cached_tokens: Number = None  # Mistral
    reasoning_tokens: Number = None  # Together


_decoder = msgspec.json.Decoder(_UsageIn)
_NO_PROMPT_DETAILS, _NO_COMPLETION_DETAILS = _PromptDetails(), _CompletionDetails()


def read_usage(said: Raw | UnsetType, service_tier: Raw | UnsetType = msgspec.UNSET) -> Usage:
    """The meters of an answer's report; `NO_USAGE` for one that can't be right."""
    usage = usage_in(said, _decoder, _read)
    service = None if isinstance(service_tier, UnsetType) else SERVICES.get(bytes(service_tier))
    return usage if service is None or not usage.reported else msgspec.structs.replace(usage, service=service)


def read_embedding_usage(said: Raw | UnsetType) -> Usage:
    """The meters of a report on vectors, of which nothing is written."""
    return usage_in(
        said, _decoder, lambda usage: reported(prompt=count(_first(usage.prompt_tokens, usage.input_tokens)), output=0)
    )


def _read(said: _UsageIn) -> Usage:
    prompt_said = _first(said.prompt_tokens, said.input_tokens)
    completion_said = _first(said.completion_tokens, said.output_tokens)
    if prompt_said is None or completion_said is None:
        return reported(prompt=0, output=0)
    prompt, completion = count(prompt_said), count(completion_said)
    read = said.prompt_tokens_details or said.input_tokens_details or _NO_PROMPT_DETAILS
    wrote = said.completion_tokens_details or said.output_tokens_details or _NO_COMPLETION_DETAILS
    reasoning = count(_first(wrote.reasoning_tokens, said.reasoning_tokens))
    # Some count reasoning beside the completion: then it takes all three to make the total.
    beside = reasoning > 0 and count(said.total_tokens) == prompt + completion + reasoning
    reasoning = reasoning if beside else min(reasoning, completion)
    return reported(
        prompt=prompt,
        cached=count(
            _first(read.cached_tokens, said.prompt_cache_hit_tokens, said.cached_tokens, said.num_cached_tokens)
        ),
        written=count(read.cache_write_tokens),
        heard=count(read.audio_tokens),
        output=completion if beside else completion - reasoning,
        reasoning=reasoning,
        spoken=count(wrote.audio_tokens),
    )


def _first(*said: Number) -> Number:
    return next((number for number in said if number is not None), None)


def usage_json(usage: Usage) -> dict[str, object]:
    """The meters as callers of this format read them."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
