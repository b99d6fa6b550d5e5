"""A receipt, and a request's key, is one of its kind."""

from typing import Any

ROWS: dict[str, dict[str, Any]] = {
    "kernel_outboxreceipt": {"consumer": lambda making: f"consumer-{making.number}"},
}
