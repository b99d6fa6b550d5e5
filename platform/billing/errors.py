"""Billing's own errors.

InvalidRequest
└── UnknownPrice   400  unknown_price   a model without a price is never called: `details` names it
Conflict
└── PriceChanged   409  price_changed   the book no longer says what a proposal was made from: `details` names the price
PaymentRequired
└── LimitReached   402  limit_reached   the tenant has spent what it may this month
"""

from kernel.errors import Conflict, InvalidRequest, PaymentRequired


class UnknownPrice(InvalidRequest):
    """This model has no price, so it can't be billed, so it isn't called."""

    code = "unknown_price"


class LimitReached(PaymentRequired):
    """The spending limit of this month is reached."""

    code = "limit_reached"


class PriceChanged(Conflict):
    """The book no longer says what this proposal was made from."""

    code = "price_changed"
