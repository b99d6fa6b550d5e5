"""Stripe counts in the smallest unit of a currency; Parley in nano-USD. https://docs.stripe.com/currencies"""

from kernel.errors import InvalidRequest, Unprocessable

CURRENCY = "usd"
NANO_PER_CENT = 10_000_000
MAX_CENTS = 99_999_999
"""Stripe takes no larger amount at once."""
MIN_CENTS = 50


class WrongCurrency(Unprocessable):
    """Payments are taken in US dollars alone."""

    code = "wrong_currency"


def cents(amount_nano: int) -> int:
    """An amount in cents, exactly. Raises `InvalidRequest` for a part of a cent, and for too little or too much."""
    whole, rest = divmod(amount_nano, NANO_PER_CENT)
    if rest or not MIN_CENTS <= whole <= MAX_CENTS:
        raise InvalidRequest(
            f"A whole number of cents is needed, from {MIN_CENTS} to {MAX_CENTS}.", details={"param": "amount_nano"}
        )
    return whole


def nano(amount: int, currency: str) -> int:
    """What Stripe tells, in nano-USD. Raises `WrongCurrency`."""
    if currency != CURRENCY:
        raise WrongCurrency(details={"currency": currency[:10]})
    return amount * NANO_PER_CENT
