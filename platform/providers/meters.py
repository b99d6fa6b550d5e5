"""From what an upstream reported to what is billed."""

from billing.pricing import charge
from billing.types import Charge, Tariff, Tokens
from providers.types import Usage


def tokens_of(usage: Usage) -> Tokens:
    """The counts by meter."""
    return Tokens(
        input=usage.input,
        cache_read=usage.cache_read,
        cache_write=usage.cache_write,
        output=usage.output,
        reasoning=usage.reasoning,
        input_audio=usage.input_audio,
        cache_write_1h=usage.cache_write_1h,
        output_audio=usage.output_audio,
    )


def charge_of(usage: Usage, tariff: Tariff) -> Charge:
    """What it costs and is sold at, as it was served."""
    return charge(tokens_of(usage), tariff, service=usage.service)
