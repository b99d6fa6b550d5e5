"""How things stand at Stripe, as far as Parley cares. Ids are empty where there is none; amounts in nano-USD."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionState:
    """A checkout."""

    is_paid: bool
    customer: str
    intent: str
    subscription: str


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute, and how much of the payment is gone by it now."""

    id: str
    amount_nano: int


@dataclass(frozen=True, slots=True)
class Intent:
    """A payment. `paid_nano` is 0 until it succeeds; `refunded_nano` of all refunds together."""

    customer: str
    paid_nano: int
    refunded_nano: int
    disputes: tuple[Dispute, ...]


@dataclass(frozen=True, slots=True)
class PaidInvoice:
    """An invoice of Stripe's for a subscription. `status` as Stripe says it: `paid`, `open`, `uncollectible`, `void`;
    `intents` are the payments that came in for it."""

    customer: str
    status: str
    paid_nano: int
    intents: tuple[str, ...]
