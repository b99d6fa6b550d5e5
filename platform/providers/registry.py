"""The providers there are. To add one: write a module with its adapter if it speaks a format of its own, and
register it here in one line."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from providers.adapters.anthropic.adapter import Anthropic
from providers.adapters.cohere.adapter import Cohere
from providers.adapters.fake import FakeAdapter
from providers.adapters.gemini.adapter import Gemini
from providers.adapters.ollama.adapter import Ollama
from providers.adapters.openai.adapter import OpenAICompatible
from providers.adapters.openai.dialect import (
    AZURE,
    DEEPSEEK,
    GROQ,
    LLAMA_CPP,
    MISTRAL,
    OPENAI,
    OPENROUTER,
    TOGETHER,
    Dialect,
)
from providers.base import Adapter
from providers.profiles import CHAT, CLAUDE, FULL, THINKING, Capability

ANY = None
"""The capabilities of a provider that serves whatever models there are."""


class UnknownProvider(ValueError):
    """There is no provider of this name; the message names those there are."""


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One provider.

    `name` is what connections and settings call it; `base_url` None means that it must be given.
    `capabilities` are those of its models that `profiles` doesn't know; None where they may have any.
    `key_variable` and `url_variable` are the environment's names for its key and address; without `needs_key`
    it also works without one. `url_field` is the one that its address may have in its query."""

    name: str
    title: str
    adapter: Callable[[], Adapter]
    base_url: str | None = None
    models: tuple[str, ...] = ()
    capabilities: frozenset[Capability] | None = CHAT
    key_variable: str | None = None
    url_variable: str | None = None
    needs_key: bool = True
    url_field: str | None = None


_specs: dict[str, ProviderSpec] = {}


def register(spec: ProviderSpec) -> None:
    """Make a provider known. Raises ValueError if the name is taken."""
    if spec.name in _specs:
        raise ValueError(f"a provider {spec.name!r} is already registered")
    _specs[spec.name] = spec


def names() -> tuple[str, ...]:
    """Every provider's name, in the order they were registered."""
    return tuple(_specs)


def get(name: str) -> ProviderSpec:
    """The provider of this name. Raises UnknownProvider."""
    try:
        return _specs[name]
    except KeyError:
        raise UnknownProvider(f"no provider {name!r}; there are: {', '.join(names())}") from None


def _speaking(dialect: Dialect) -> Callable[[], Adapter]:
    return partial(OpenAICompatible, dialect=dialect)


for _spec in (
    ProviderSpec(
        "openai",
        "OpenAI",
        _speaking(OPENAI),
        "https://api.openai.com/v1",
        ("gpt-4o-mini", "gpt-4o"),
        THINKING,
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
    ),
    ProviderSpec(
        "anthropic",
        "Anthropic",
        Anthropic,
        "https://api.anthropic.com",
        ("claude-sonnet-5", "claude-opus-5", "claude-haiku-4-5"),
        CLAUDE,
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
    ),
    ProviderSpec(
        "azure",
        "Azure OpenAI",
        _speaking(AZURE),
        None,
        (),
        ANY,
        "AZURE_OPENAI_API_KEY",
        "AZURE_OPENAI_ENDPOINT",
        url_field="api-version",
    ),
    ProviderSpec(
        "gemini",
        "Google Gemini",
        Gemini,
        "https://generativelanguage.googleapis.com/v1beta",
        ("gemini-2.5-flash", "gemini-2.5-pro"),
        THINKING,
        "GEMINI_API_KEY",
        "GEMINI_BASE_URL",
    ),
    ProviderSpec(
        "cohere",
        "Cohere",
        Cohere,
        "https://api.cohere.com",
        ("command-a-03-2025",),
        ANY,
        "COHERE_API_KEY",
        "COHERE_BASE_URL",
    ),
    ProviderSpec(
        "openrouter",
        "OpenRouter",
        _speaking(OPENROUTER),
        "https://openrouter.ai/api/v1",
        ("openai/gpt-4o-mini",),
        ANY,
        "OPENROUTER_API_KEY",
        "OPENROUTER_BASE_URL",
    ),
    ProviderSpec(
        "together",
        "Together AI",
        _speaking(TOGETHER),
        "https://api.together.xyz/v1",
        ("meta-llama/Llama-3.3-70B-Instruct-Turbo",),
        ANY,
        "TOGETHER_API_KEY",
        "TOGETHER_BASE_URL",
    ),
    ProviderSpec(
        "groq",
        "Groq",
        _speaking(GROQ),
        "https://api.groq.com/openai/v1",
        ("llama-3.3-70b-versatile",),
        ANY,
        "GROQ_API_KEY",
        "GROQ_BASE_URL",
    ),
    ProviderSpec(
        "deepseek",
        "DeepSeek",
        _speaking(DEEPSEEK),
        "https://api.deepseek.com/v1",
        ("deepseek-chat", "deepseek-reasoner"),
        CHAT | {"logprobs", "reasoning"},
        "DEEPSEEK_API_KEY",
        "DEEPSEEK_BASE_URL",
    ),
    ProviderSpec(
        "mistral",
        "Mistral AI",
        _speaking(MISTRAL),
        "https://api.mistral.ai/v1",
        ("mistral-small-latest", "mistral-large-latest"),
        FULL,
        "MISTRAL_API_KEY",
        "MISTRAL_BASE_URL",
    ),
    ProviderSpec(
        "llama.cpp",
        "llama.cpp server",
        _speaking(LLAMA_CPP),
        None,
        ("smollm2-135m-instruct",),
        ANY,
        "LLAMA_CPP_API_KEY",
        "LLAMA_CPP_BASE_URL",
        needs_key=False,
    ),
    ProviderSpec(
        "ollama",
        "Ollama",
        Ollama,
        None,
        ("llama3.2",),
        ANY,
        "OLLAMA_API_KEY",
        "OLLAMA_BASE_URL",
        needs_key=False,
    ),
    ProviderSpec(
        "openai-compatible",
        "Any OpenAI-compatible server",
        OpenAICompatible,
        None,
        (),
        ANY,
        "OPENAI_COMPATIBLE_API_KEY",
        "OPENAI_COMPATIBLE_BASE_URL",
        needs_key=False,
    ),
    ProviderSpec("fake", "Fake", FakeAdapter, "fake://", ("echo",), ANY, needs_key=False),
):
    register(_spec)
