"""Facts about models, as data: what they can do and how much they hold.

A profile is found by the longest pattern that fits the upstream's name for the model, without its publisher
(`openai/gpt-4o-mini` is found as `gpt-4o-mini`). What is not known is None, and limits nothing.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal, get_args

Capability = Literal["stream", "tools", "images", "json_object", "json_schema", "logprobs", "reasoning", "seed"]

CAPABILITIES: tuple[Capability, ...] = get_args(Capability)

TEXT: frozenset[Capability] = frozenset({"stream"})
LOCAL: frozenset[Capability] = frozenset({"stream", "json_object", "json_schema", "logprobs", "seed"})
CHAT: frozenset[Capability] = frozenset({"stream", "tools", "json_object", "seed"})
FULL: frozenset[Capability] = CHAT | {"images", "json_schema", "logprobs"}
THINKING: frozenset[Capability] = FULL | {"reasoning"}
LOGPROBS: frozenset[Capability] = frozenset({"logprobs"})
COMMAND: frozenset[Capability] = CHAT | {"json_schema", "logprobs"}
OLLAMA: frozenset[Capability] = LOCAL | {"tools"}
JSON_SCHEMA: frozenset[Capability] = frozenset({"json_schema"})
NEWER_CLAUDE: frozenset[Capability] = frozenset({"json_schema", "reasoning"})
CLAUDE: frozenset[Capability] = frozenset({"stream", "tools", "images", "json_object", "json_schema", "reasoning"})


MAX_TOKENS_PER_IMAGE = 5_000
"""More than the most that providers count for an image scaled to what a model looks at, but for models that say so: 4,784 at
Anthropic (from Opus 4.7 on), 3,779 at OpenAI (1,536 patches of GPT-4.1 nano), 2,580 for ten tiles at Google (their
documentation of vision)."""


@dataclass(frozen=True, slots=True)
class Profile:
    """`context_tokens` holds prompt and answer together; `max_output_tokens` is the most an answer may be, `image_tokens`
    the most that an image counts for."""

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[Capability] | None = None
    image_tokens: int = MAX_TOKENS_PER_IMAGE


UNKNOWN = Profile()

PROFILES: dict[str, Profile] = {
    "gpt-4o*": Profile(128_000, 16_384, FULL),
    # 2,833 for an image and 5,667 for each of at most eight tiles, at a price that makes up for it.
    "gpt-4o-mini*": Profile(128_000, 16_384, FULL, 48_169),
    "gpt-4.1*": Profile(1_047_576, 32_768, FULL),
    "gpt-5*": Profile(400_000, 128_000, THINKING),
    "o3*": Profile(200_000, 100_000, THINKING - LOGPROBS),
    "o4-mini*": Profile(200_000, 100_000, THINKING - LOGPROBS),
    "claude-3-*": Profile(200_000, 4_096, CLAUDE - NEWER_CLAUDE),
    "claude-3-5-*": Profile(200_000, 8_192, CLAUDE - NEWER_CLAUDE),
    "claude-3-7-*": Profile(200_000, 64_000, CLAUDE - JSON_SCHEMA),
    "claude-opus-4-*": Profile(200_000, 32_000, CLAUDE - JSON_SCHEMA),
    "claude-opus-4-1*": Profile(200_000, 32_000, CLAUDE),
    "claude-sonnet-4-*": Profile(200_000, 64_000, CLAUDE - JSON_SCHEMA),
    "claude-sonnet-4-5*": Profile(200_000, 64_000, CLAUDE),
    "claude-haiku-4-*": Profile(200_000, 64_000, CLAUDE),
    "claude-opus-4-5*": Profile(200_000, 64_000, CLAUDE),
    "claude-opus-4-6*": Profile(1_000_000, 128_000, CLAUDE),
    "claude-opus-4-7*": Profile(1_000_000, 128_000, CLAUDE),
    "claude-opus-4-8*": Profile(1_000_000, 128_000, CLAUDE),
    "claude-sonnet-4-6*": Profile(1_000_000, 64_000, CLAUDE),
    "claude-haiku-5*": Profile(None, None, CLAUDE),
    "claude-sonnet-5*": Profile(1_000_000, 128_000, CLAUDE),
    "claude-opus-5*": Profile(1_000_000, 128_000, CLAUDE),
    "claude-fable-5*": Profile(1_000_000, 128_000, CLAUDE),
    "claude-mythos-5*": Profile(1_000_000, 128_000, CLAUDE),
    "deepseek-chat*": Profile(128_000, 8_192, CHAT | {"logprobs"}),
    "deepseek-reasoner*": Profile(128_000, 65_536, CHAT | {"reasoning"}),
    "mistral-large*": Profile(128_000, None, CHAT | {"images", "json_schema"}),
    "mistral-small*": Profile(128_000, None, CHAT | {"images", "json_schema"}),
    "llama-3.3-70b*": Profile(131_072, 32_768, CHAT),
    "gemini-2.0-flash*": Profile(1_048_576, 8_192, FULL),
    "gemini-2.5*": Profile(1_048_576, 65_536, THINKING),
    "gemini-3*": Profile(1_048_576, 65_536, THINKING),
    "command-a-03-2025*": Profile(256_000, 8_000, COMMAND),
    "command-a-reasoning*": Profile(256_000, 32_000, COMMAND | {"reasoning"}),
    "command-a-vision*": Profile(128_000, 8_000, (COMMAND - {"tools"}) | {"images"}),
    "command-r*": Profile(128_000, 4_000, COMMAND),
    # What a model of these holds is up to the Ollama server (`num_ctx`), not to the model.
    "llama3.1*": Profile(None, None, OLLAMA),
    "llama3.2*": Profile(None, None, OLLAMA),
    "llama3.2-vision*": Profile(None, None, LOCAL | {"images"}),
    "qwen3*": Profile(None, None, OLLAMA | {"reasoning"}),
    "qwen3-vl*": Profile(None, None, OLLAMA | {"reasoning", "images"}),
    "gpt-oss*": Profile(None, None, OLLAMA | {"reasoning"}),
    "gemma3*": Profile(None, None, LOCAL | {"images"}),
    "llava*": Profile(None, None, LOCAL | {"images"}),
    # The model was trained on 8,192; this is what a slot of the local server holds (config.embedded.llama_server).
    "smollm2*": Profile(2_048, None, LOCAL),
}


@lru_cache(maxsize=4_096)
def profile(model: str) -> Profile:
    """What is known about a model, by the upstream's name for it."""
    name = model.rsplit("/", 1)[-1].lower()
    fits = [pattern for pattern in PROFILES if fnmatchcase(name, pattern)]
    return PROFILES[max(fits, key=len)] if fits else UNKNOWN
