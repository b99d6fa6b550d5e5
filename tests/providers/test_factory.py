"""The registry and the factory: a provider without its key is unavailable, and never a crash."""

import asyncio

import pytest

from providers import registry
from providers.adapters.fake import FakeAdapter
from providers.adapters.openai.adapter import OpenAICompatible
from providers.base import Target
from providers.factory import ModelFactory
from providers.profiles import UNKNOWN, profile
from providers.registry import ProviderSpec, UnknownProvider

pytestmark = pytest.mark.no_database


def test_every_provider_says_what_it_needs() -> None:
    for name in registry.names():
        spec = registry.get(name)
        assert spec.key_variable or not spec.needs_key
        assert spec.url_variable or spec.base_url


async def test_every_provider_can_be_built_without_any_configuration() -> None:
    factory = ModelFactory()
    for name in registry.names():
        assert factory.adapter(name) is factory.adapter(name)
        assert factory.availability(name).available is (name == "fake")
        assert (factory.platform_target(name) is not None) is (name == "fake")
    assert factory.default_targets() == ()
    await factory.close()


def test_the_default_route_is_the_primary_then_the_fallbacks_that_are_available() -> None:
    factory = ModelFactory(
        environment={
            "OPENAI_API_KEY": "sk-openai",
            "GROQ_API_KEY": "",
            "LLAMA_CPP_BASE_URL": "http://127.0.0.1:8080/v1",
        },
        primary="openai",
        fallbacks=("groq", "llama.cpp", "openai"),
    )
    assert factory.default_targets() == (
        Target("openai", "https://api.openai.com/v1", "gpt-4o-mini", "sk-openai"),
        Target("llama.cpp", "http://127.0.0.1:8080/v1", "smollm2-135m-instruct"),
    )
    assert factory.availability("groq").reason == "GROQ_API_KEY is not set"
    assert factory.availability("openai-compatible").reason == "OPENAI_COMPATIBLE_BASE_URL is not set"
    assert factory.platform_target("openai-compatible", "m") is None


def test_a_name_that_is_none_stops_the_start_and_names_those_there_are() -> None:
    with pytest.raises(UnknownProvider, match=r"'opnai'.*openai, "):
        ModelFactory(primary="opnai")


async def test_adapters_belong_to_their_event_loop() -> None:
    factory = ModelFactory()
    here = factory.adapter("openai")

    def elsewhere() -> object:
        async def build() -> object:
            return factory.adapter("openai")

        return asyncio.run(build())

    assert await asyncio.to_thread(elsewhere) is not here
    assert factory.adapter("openai") is here
    await factory.close()
    assert factory.adapter("openai") is not here


def test_a_provider_is_added_by_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))
    registry.register(ProviderSpec("mine", "Mine", FakeAdapter, "fake://", ("m",), needs_key=False))
    factory = ModelFactory(primary="mine")
    assert [target.provider for target in factory.default_targets()] == ["mine"]
    with pytest.raises(ValueError, match="already registered"):
        registry.register(ProviderSpec("mine", "Mine", OpenAICompatible))


@pytest.mark.parametrize(
    ("model", "context"),
    [("gpt-4o-mini-2024-07-18", 128_000), ("openai/GPT-4o", 128_000), ("SmolLM2-135M-Instruct", 2_048)],
)
def test_facts_about_models_are_found_by_the_upstreams_name(model: str, context: int) -> None:
    assert profile(model).context_tokens == context


def test_nothing_is_known_of_an_unknown_model() -> None:
    assert profile("my-own-model") is UNKNOWN
