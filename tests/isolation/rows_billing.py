"""A price has a tier, an entry two accounts; a tenant has one account of each kind, one balance of a budget in a period."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from billing.types import ACCOUNTS
from tests.isolation.rows import Making, insert


def _new_budget(making: Making) -> Any:
    budget = making.factory.values("billing_budget", making.tenant_id)
    insert(making.factory.connection, "billing_budget", budget)
    return budget["id"]


def _another_kind(making: Making) -> str:
    """The first kind for the tenant's standing row, any other for what is inserted beside it."""
    has_standing = ("billing_account", making.tenant_id) in making.factory._standing
    return ACCOUNTS[1 + making.number % (len(ACCOUNTS) - 1)] if has_standing else ACCOUNTS[0]


POINTING: dict[str, dict[str, Any]] = {"invoice_payment_note_fk": {"payment_id": None}}
"""A credit note pays in the place of a payment."""
ROWS: dict[str, dict[str, Any]] = {
    "billing_price": {"tier": "standard"},
    "billing_tenantprice": {"tier": "standard"},
    "billing_entry": {"debit": "customer", "credit": "revenue"},
    "billing_account": {"kind": _another_kind, "debits_nano": 1},
    "billing_plan": {
        "max_seats": 10,
        "grace_days": 7,
        "trial_days": 0,
        "markup_bps": None,
        "version": 1,
    },
    "billing_subscription": {
        "anchor_day": 1,
        "period_start": datetime(2026, 1, 1, tzinfo=UTC),
        "period_end": datetime(2026, 2, 1, tzinfo=UTC),
        "past_due_since": None,
        "state": "cancelled",
    },
    "billing_funds": {"budget_id": _new_budget},
    "billing_creditgrant": {"allocated_nano": 0, "expired_nano": 0, "withdrawn_nano": 0},
    "billing_invoice": {
        "until": lambda making: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(days=making.number),
        "net_nano": 0,
        "tax_nano": 0,
        "total_nano": 0,
        "tax_bps": 0,
    },
    "billing_billingprofile": {"tax_bps": None, "due_days": None, "key": lambda making: f"profile-{making.number}"},
    "billing_invoiceschedule": {"name": lambda making: f"schedule-{making.number}"},
    "billing_invoicepayment": {"payment_id": lambda making: making.row("billing_payment")["id"]},
    "billing_budgetbalance": {"period_start": lambda making: date(2000, 1, 1) + timedelta(days=making.number)},
}
