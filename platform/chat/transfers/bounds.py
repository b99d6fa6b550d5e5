"""Bounds of exports and imports, each with its unit in the name."""

from datetime import timedelta

EXPORT_MESSAGES_MAX = 100_000
EXPORT_BYTES_MAX = 200 * 1024 * 1024
PDF_MESSAGES_MAX = 2_000
PDF_CHARS_MAX = 2_000_000
"""Of one PDF: about a thousand pages."""
EXPORT_KEPT = timedelta(hours=24)
"""How long an export can be downloaded."""
RECORD_KEPT = timedelta(days=7)
"""How long one can see what became of an import, or why an export failed."""
ENDING_MAX = timedelta(minutes=10)
"""By then the worker of a transfer that was given up has stored what it was about to."""
RUNNING_PER_MEMBER_MAX = 5
PAGE_MESSAGES = 200

LEASE_S = 30.0
RENEW_S = 5.0
TURNS_MAX = 3
"""A transfer whose workers died so often is given up."""
DUE_MAX = 100
TURN_MAX_S = 240.0
TURNS_PER_WORKER = 2
"""Of a worker's threads, so many may be busy with transfers."""
