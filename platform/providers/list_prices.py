"""What providers ask for their default models by their public price lists, in nano-USD for a million tokens.

Used for those that the environment offers, and entered into the price book once; what is in the book already holds. A
model that isn't here has no price, and can't be offered without one: give it with `manage.py add_provider`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from billing.tiers import tier_name
from billing.types import STANDARD

USD = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ListPrice:
    """Of a million tokens read, and written; `others` by tier and meter, where these cost neither as much as input nor as
    output (`billing.tiers`)."""

    input_nano_per_mtok: int
    output_nano_per_mtok: int
    others: Mapping[tuple[str, str], int] = field(default_factory=dict)


def _usd(
    input_per_mtok: float,
    output_per_mtok: float,
    *,
    above: Mapping[int, Mapping[str, float]] | None = None,
    **meters: float,
) -> ListPrice:
    """`meters` are other prices of the standard tier, `above` those of prompts longer than so many tokens."""
    others = {tier_name(STANDARD): meters} | {tier_name(STANDARD, at): rates for at, rates in (above or {}).items()}
    return ListPrice(
        round(input_per_mtok * USD),
        round(output_per_mtok * USD),
        {(tier, meter): round(usd * USD) for tier, rates in others.items() for meter, usd in rates.items()},
    )


def _claude(input_per_mtok: float, output_per_mtok: float) -> ListPrice:
    """What is read from the cache costs a tenth of input; what goes there a quarter more, for an hour twice as much."""
    return _usd(
        input_per_mtok,
        output_per_mtok,
        cache_read=0.1 * input_per_mtok,
        cache_write=1.25 * input_per_mtok,
        cache_write_1h=2 * input_per_mtok,
    )


FREE = ListPrice(0, 0)
_LONG_GEMINI_PRO = {"input": 2.50, "cache_read": 0.25, "cache_write": 2.50, "output": 15.00, "reasoning": 15.00}

LIST_PRICES: Mapping[tuple[str, str], ListPrice] = {
    ("openai", "gpt-4o-mini"): _usd(0.15, 0.60, cache_read=0.075),
    ("openai", "gpt-4o"): _usd(2.50, 10.00, cache_read=1.25),
    ("openrouter", "openai/gpt-4o-mini"): _usd(0.15, 0.60, cache_read=0.075),
    ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"): _usd(0.88, 0.88),
    ("groq", "llama-3.3-70b-versatile"): _usd(0.59, 0.79),
    ("deepseek", "deepseek-chat"): _usd(0.28, 0.42, cache_read=0.028),
    ("deepseek", "deepseek-reasoner"): _usd(0.28, 0.42, cache_read=0.028),
    ("mistral", "mistral-small-latest"): _usd(0.10, 0.30),
    ("mistral", "mistral-large-latest"): _usd(2.00, 6.00),
    ("anthropic", "claude-haiku-4-5"): _claude(1.00, 5.00),
    ("anthropic", "claude-sonnet-5"): _claude(2.00, 10.00),
    ("anthropic", "claude-opus-5"): _claude(5.00, 25.00),
    ("gemini", "gemini-2.5-flash"): _usd(0.30, 2.50, cache_read=0.03, input_audio=1.00),
    ("gemini", "gemini-2.5-pro"): _usd(1.25, 10.00, cache_read=0.125, above={200_000: _LONG_GEMINI_PRO}),
    ("cohere", "command-a-03-2025"): _usd(2.50, 10.00),
}
"""(provider, upstream's name) → price."""


def list_price(provider: str, model: str, *, needs_key: bool) -> ListPrice | None:
    """The price of a provider's model; nothing for what runs on one's own machines; None where it isn't known."""
    return LIST_PRICES.get((provider, model), None if needs_key else FREE)
