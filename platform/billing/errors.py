"""Billing's own errors.

InvalidRequest
└── UnknownPrice   400  unknown_price   a model without a price is never called: `details` names it
Conflict
└── PriceChanged   409  price_changed   the book no longer says what a proposal was made from: `details` names the price
PaymentRequired
├── BudgetExceeded 402  budget_exceeded   what the request may cost doesn't fit a budget: `details` say which
└── NoPlan         402  plan_not_active   the subscription is suspended or has ended: the platform's models are refused
"""

from collections.abc import Mapping
from typing import Any

from kernel.errors import Conflict, InvalidRequest, PaymentRequired


class UnknownPrice(InvalidRequest):
    """This model has no price, so it can't be billed, so it isn't called."""

    code = "unknown_price"


class BudgetExceeded(PaymentRequired):
    """A budget has too little left for this request."""

    code = "budget_exceeded"

    @classmethod
    def by(cls, budget: Mapping[str, Any]) -> "BudgetExceeded":
        """The refusal by a budget, as the ledger tells of it: amounts in nano-USD or tokens, by `measure`."""
        whose = _WHOSE.get(str(budget["scope"]).partition(":")[0], "A")
        named = f" “{budget['name']}”" if budget["name"] else ""
        return cls(f"{whose} budget{named} has too little left for this request.", details=dict(budget))

    @property
    def headers(self) -> dict[str, str]:
        """Which budget it was, for formats whose errors have no place for it."""
        return {"x-parley-budget": str(self.details["budget"])} if self.details else {}


class NoPlan(PaymentRequired):
    """The organisation's plan is suspended or has ended, so the platform's models can't be used; models by keys of its own
    can."""

    code = "plan_not_active"


_WHOSE = {
    "tenant": "The organisation's",
    "funds": "The prepaid",
    "member": "Your",
    "group": "A group's",
    "key": "The API key's",
    "room": "The room's",
    "model": "The model's",
}


class PriceChanged(Conflict):
    """The book no longer says what this proposal was made from."""

    code = "price_changed"
