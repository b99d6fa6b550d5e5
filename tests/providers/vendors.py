"""The adapter of each upstream format, with an upstream that speaks it."""

from dataclasses import dataclass

from providers.adapters.anthropic.adapter import Anthropic
from providers.adapters.cohere.adapter import Cohere
from providers.adapters.gemini.adapter import Gemini
from providers.adapters.ollama.adapter import Ollama
from providers.adapters.openai.adapter import OpenAICompatible
from providers.assemble import Assembler
from providers.base import DEFAULT_TIMEOUTS, Adapter, Target, Timeouts
from providers.types import ChatAnswer, ChatRequest, StreamEvent
from tests.fakes.anthropic_upstream import AnthropicUpstream
from tests.fakes.cohere_upstream import CohereUpstream
from tests.fakes.gemini_upstream import GeminiUpstream
from tests.fakes.ollama_upstream import OllamaUpstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.upstream import Upstream

VENDORS: dict[str, tuple[type[Adapter], type[Upstream]]] = {
    "anthropic": (Anthropic, AnthropicUpstream),
    "cohere": (Cohere, CohereUpstream),
    "gemini": (Gemini, GeminiUpstream),
    "ollama": (Ollama, OllamaUpstream),
    "openai-compatible": (OpenAICompatible, OpenAIUpstream),
}
KEY = "vendor-secret"


@dataclass
class Vendor:
    """An adapter, and the upstream it speaks to."""

    name: str
    adapter: Adapter
    upstream: Upstream

    @property
    def target(self) -> Target:
        """Where the upstream is."""
        return Target(self.name, self.upstream.base_url, "fake-model", secret=KEY)

    async def events(self, request: ChatRequest, *, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> list[StreamEvent]:
        """All that a stream said."""
        return [event async for event in self.adapter.stream(request, self.target, timeouts)]

    async def answer(self, request: ChatRequest, *, stream: bool, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> ChatAnswer:
        """The whole answer, by way of a stream or not."""
        if not stream:
            return await self.adapter.complete(request, self.target, timeouts)
        assembler = Assembler()
        for event in await self.events(request, timeouts=timeouts):
            assembler.add(event)
        return assembler.answer()
