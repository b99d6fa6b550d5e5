"""Bounds of imports, each with its unit in the name."""

from datetime import timedelta

IMPORT_BYTES_MAX = 1024**3
UNPACKED_BYTES_MAX = 4 * 1024**3
"""What a ZIP archive may hold of conversations, and"""
UNPACKED_RATIO_MAX = 100
"""how many times its own size."""
DIRECTORY_BYTES_MAX = 8 * 1024 * 1024
"""Of a ZIP archive's table of contents."""
ENTRIES_MAX = 20_000
CONVERSATION_BYTES_MAX = 64 * 1024 * 1024
VALUES_MAX = 2_000_000
"""In one conversation: about a hundred for each message that it may have, and twice that."""
DEPTH_MAX = 64
CONVERSATIONS_MAX = 50_000
MESSAGES_MAX = 10_000
"""Of one conversation."""
PROBLEMS_MAX = 100
STORING_MAX = timedelta(hours=1)
WAITING_MAX = timedelta(days=7)
TURN_S = 180.0
"""How long a worker goes on before others have their turn."""
INSERT_ROWS = 500
PIECE_BYTES = 1024 * 1024
