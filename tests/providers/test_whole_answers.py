"""An answer that is whole is never late: not by usage that doesn't come, nor by a stream that doesn't end."""

import asyncio
from dataclasses import dataclass

import pytest

from providers.adapters.anthropic.adapter import Anthropic
from providers.adapters.cohere.adapter import Cohere
from providers.adapters.gemini.adapter import Gemini
from providers.adapters.ollama.adapter import Ollama
from providers.adapters.openai.adapter import OpenAICompatible
from providers.assemble import Assembler
from providers.base import Adapter, Target, Timeouts
from providers.http import END_WAIT_S, until_told
from tests.fakes.anthropic_upstream import AnthropicUpstream
from tests.fakes.cohere_upstream import CohereUpstream
from tests.fakes.gemini_upstream import GeminiUpstream
from tests.fakes.ollama_upstream import OllamaUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.upstream import Upstream
from tests.providers.conftest import ask, until

pytestmark = pytest.mark.no_database

VENDORS: dict[str, tuple[type[Adapter], type[Upstream]]] = {
    "openai-compatible": (OpenAICompatible, OpenAIUpstream),
    "anthropic": (Anthropic, AnthropicUpstream),
    "gemini": (Gemini, GeminiUpstream),
    "cohere": (Cohere, CohereUpstream),
    "ollama": (Ollama, OllamaUpstream),
}
BETWEEN_TOKENS_S = 0.6
TIMEOUTS = Timeouts(connect_s=2.0, first_token_s=5.0, between_tokens_s=BETWEEN_TOKENS_S, total_s=10.0)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_stream_that_never_ends_nor_says_what_was_used(vendor: str) -> None:
    kind, speaking = VENDORS[vendor]
    adapter = kind()
    with speaking(api_key="key") as upstream:
        upstream.script(text="All of it.", usage="never", hang_at_end=True)
        assembler = Assembler()
        target = Target(vendor, upstream.base_url, "fake-model", secret="key")
        async for event in adapter.stream(ask(), target, TIMEOUTS):
            assembler.add(event)
        answer = assembler.answer()
        assert (answer.text, answer.choices[0].finish_reason) == ("All of it.", "stop")
        assert not answer.usage.reported
        await adapter.close()
        await until(lambda: upstream.in_flight == 0)


@dataclass
class Reader:
    finished: bool = False
    has_usage: bool = False


async def test_patience_ends_however_much_comes_that_says_nothing() -> None:
    reader = Reader()
    patience = until_told(reader, TIMEOUTS)
    assert patience() is None
    reader.finished = True
    first = patience()
    assert first is not None
    assert 0 < first <= BETWEEN_TOKENS_S / 2
    await asyncio.sleep(0.01)
    later = patience()
    assert later is not None
    assert later < first
    reader.has_usage = True
    end = patience()
    assert end is not None
    assert 0 < end <= END_WAIT_S
