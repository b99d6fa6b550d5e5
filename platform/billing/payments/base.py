"""What a provider of payments does for Parley. Amounts cross this seam in nano-USD; adapters turn them into their own."""

import uuid
from dataclasses import dataclass
from typing import Protocol

from kernel.errors import UpstreamFailed


class PaymentsFailed(UpstreamFailed):
    """The payment provider can't be reached, or refused. Nothing was paid."""

    code = "payment_provider_failed"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the provider's where somebody pays. `external_id` names it in what the provider tells afterwards."""

    external_id: str
    url: str


@dataclass(frozen=True, slots=True)
class Ways:
    """Where people come back to from the page."""

    paid_url: str
    left_url: str


class PaymentPort(Protocol):
    """A provider of payments. Everything it is asked carries a `key`: asked again with the same one, it does nothing more.
    All may raise `PaymentsFailed`."""

    name: str
    least_nano: int
    """What it takes at least at once."""
    most_nano: int
    """And at most."""

    def new_customer(self, *, tenant_id: uuid.UUID, name: str, key: str) -> str:
        """Make a tenant known; what the provider calls it."""

    def payment_page(self, *, customer: str, name: str, amount_nano: int, ways: Ways, key: str) -> Page:
        """A page to pay an amount once, for what `name` says there."""

    def subscription_page(self, *, customer: str, name: str, price_nano: int, seats: int, ways: Ways, key: str) -> Page:
        """A page to begin paying a price for each of so many seats each month."""

    def change_subscription(
        self, *, subscription: str, name: str, price_nano: int, seats: int, at_once: bool, key: str
    ) -> None:
        """Collect another price, or for another number of seats. `at_once` the rest of the period is settled now, by the time
        that is left of it, and nothing is changed if that can't be collected; else it is paid from the next period on. One
        that was to end with its period goes on."""

    def end_subscription(self, *, subscription: str, at_period_end: bool) -> None:
        """Stop paying, with the period or at once. One that has ended already is no error."""
