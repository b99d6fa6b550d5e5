"""A price has a tier, an entry two accounts; a tenant has one account of each kind, one balance of a budget in a period."""

from datetime import date, timedelta
from typing import Any

from billing.types import ACCOUNTS

ROWS: dict[str, dict[str, Any]] = {
    "billing_price": {"tier": "standard"},
    "billing_tenantprice": {"tier": "standard"},
    "billing_entry": {"debit": "customer", "credit": "revenue"},
    "billing_account": {"kind": lambda making: ACCOUNTS[making.number % len(ACCOUNTS)], "debits_nano": 1},
    "billing_budgetbalance": {"period_start": lambda making: date(2000, 1, 1) + timedelta(days=making.number)},
}
