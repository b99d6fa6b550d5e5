"""Payments by hand: a bank's transfer, an invoice that was paid."""
