"""Billing's own errors.

InvalidRequest
└── UnknownPrice   400  unknown_price   a model without a price is never called: `details` names it
PaymentRequired
└── LimitReached   402  limit_reached   the tenant has spent what it may this month
"""

from kernel.errors import InvalidRequest, PaymentRequired


class UnknownPrice(InvalidRequest):
    """This model has no price, so it can't be billed, so it isn't called."""

    code = "unknown_price"


class LimitReached(PaymentRequired):
    """The spending limit of this month is reached."""

    code = "limit_reached"
