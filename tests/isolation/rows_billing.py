"""An entry has two accounts; a balance points to a budget."""

from typing import Any

ROWS: dict[str, dict[str, Any]] = {
    "billing_entry": {"debit": "customer", "credit": "revenue"},
    "billing_account": {"kind": "customer"},
}
