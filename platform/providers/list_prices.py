"""What providers ask for their default models by their public price lists, in nano-USD for a million tokens.

Used for those that the environment offers, and entered into the price book once; what is in the book already holds. A
model that isn't here has no price, and can't be offered without one: give it with `manage.py add_provider`."""

from collections.abc import Mapping
from dataclasses import dataclass

USD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ListPrice:
    """Of a million tokens read, and written."""

    input_nano_per_mtok: int
    output_nano_per_mtok: int


def _usd(input_per_mtok: float, output_per_mtok: float) -> ListPrice:
    return ListPrice(round(input_per_mtok * USD), round(output_per_mtok * USD))


FREE = ListPrice(0, 0)

LIST_PRICES: Mapping[tuple[str, str], ListPrice] = {
    ("openai", "gpt-4o-mini"): _usd(0.15, 0.60),
    ("openai", "gpt-4o"): _usd(2.50, 10.00),
    ("openrouter", "openai/gpt-4o-mini"): _usd(0.15, 0.60),
    ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"): _usd(0.88, 0.88),
    ("groq", "llama-3.3-70b-versatile"): _usd(0.59, 0.79),
    ("deepseek", "deepseek-chat"): _usd(0.28, 0.42),
    ("deepseek", "deepseek-reasoner"): _usd(0.28, 0.42),
    ("mistral", "mistral-small-latest"): _usd(0.10, 0.30),
    ("mistral", "mistral-large-latest"): _usd(2.00, 6.00),
    ("anthropic", "claude-haiku-4-5"): _usd(1.00, 5.00),
    ("anthropic", "claude-sonnet-5"): _usd(2.00, 10.00),
    ("anthropic", "claude-opus-5"): _usd(5.00, 25.00),
    ("gemini", "gemini-2.5-flash"): _usd(0.30, 2.50),
    ("gemini", "gemini-2.5-pro"): _usd(1.25, 10.00),
    ("cohere", "command-a-03-2025"): _usd(2.50, 10.00),
}
"""(provider, upstream's name) → price."""


def list_price(provider: str, model: str, *, needs_key: bool) -> ListPrice | None:
    """The price of a provider's model; nothing for what runs on one's own machines; None where it isn't known."""
    return LIST_PRICES.get((provider, model), None if needs_key else FREE)
