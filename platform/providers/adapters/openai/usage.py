"""Usage in OpenAI's format, both directions. It counts cached tokens as part of the prompt and reasoning as part of the
completion; the meters of `Usage` are disjoint."""

import msgspec

from providers.types import NO_USAGE, Usage

MAX_REPORTED_TOKENS = 100_000_000
"""A report beyond this is a mistake, and counts as none."""

Number = int | float | None


class _PromptDetails(msgspec.Struct):
    cached_tokens: Number = None
    cache_write_tokens: Number = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: Number = None


class UsageIn(msgspec.Struct):
    """What an upstream reports."""

    prompt_tokens: Number = None
    completion_tokens: Number = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: Number = None  # DeepSeek


def read_usage(said: UsageIn) -> Usage:
    """The meters of a report; `NO_USAGE` for one that can't be right."""
    prompt, completion = _count(said.prompt_tokens), _count(said.completion_tokens)
    details, spent = said.prompt_tokens_details, said.completion_tokens_details
    cached = _count(details.cached_tokens if details else said.prompt_cache_hit_tokens)
    written = _count(details.cache_write_tokens if details else None)
    reasoning = _count(spent.reasoning_tokens if spent else None)
    counts = (prompt, completion, cached, written, reasoning)
    if any(count < 0 or count > MAX_REPORTED_TOKENS for count in counts) or not prompt + completion:
        return NO_USAGE
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    reasoning = min(reasoning, completion)
    return Usage(
        input=prompt - cached - written,
        cache_read=cached,
        cache_write=written,
        output=completion - reasoning,
        reasoning=reasoning,
    )


def _count(said: Number) -> int:
    return int(said) if said is not None else 0


def usage_json(usage: Usage) -> dict[str, object]:
    """The meters as callers of this format read them."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
