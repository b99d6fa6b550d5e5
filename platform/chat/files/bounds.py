"""Bounds of files in rooms, each with its unit in the name."""

from datetime import timedelta

ATTACHMENT_BYTES_MAX = 25 * 1024 * 1024
FORM_BYTES_MAX = 64 * 1024
"""What a form may hold beside its file."""
NAME_CHARS_MAX = 255
ATTACHMENTS_PER_MESSAGE_MAX = 10
UNCLAIMED_PER_MEMBER_MAX = 100
UNCLAIMED_KEPT = timedelta(hours=24)
"""How long a file that no message was sent with is kept."""
STORING_MAX = timedelta(minutes=10)
"""What was begun to be stored and isn't by then never will be."""

HEAD_BYTES = 64 * 1024
"""What of a file is looked at to know its type."""

SANDBOXES_AT_ONCE = 2
"""Readers that run at a time, in one process."""
SANDBOXES_WAITING_MAX = 16
SANDBOX_WAIT_S = 30.0
SANDBOX_S = 45.0
"""How long one may take."""
SANDBOX_SAYS_BYTES_MAX = 64 * 1024

LINK_S = 300
"""How long a link to a download holds."""
