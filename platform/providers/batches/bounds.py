"""Bounds of files and batches that nobody needs to change; those that somebody may are in the settings."""

from datetime import timedelta

RESULTS_KEPT = timedelta(days=30)
"""How long the files that a batch makes can be read, unless it says for less."""
KEPT_MIN_S, KEPT_MAX_S = 3600, 30 * 86_400
"""What may be said of how long files are kept."""
LEFT_KEPT = timedelta(days=7)
"""How long files are kept after their key ended, or their member was removed: nobody can read or delete them then."""
BATCHES_KEPT = timedelta(days=90)
"""How long a batch can be looked at after it was made."""
UPLOAD_MAX = timedelta(hours=1)
"""What was begun to be stored and isn't by then never will be."""
WINDOW = timedelta(hours=24)
"""In which a batch is completed, or expires."""

LEASE_S = 30.0
"""How long a worker that says nothing more keeps others away."""
RENEW_S = 5.0
WAIT_MAX_S = 15.0
"""The longest that a line waits before it is tried again after a limit refused it."""
CUSTOM_ID_MAX_CHARS = 512
RESULTS_PAGE = 20
"""Results that are in memory at once when a batch's files are written."""
REFUSALS_PAGE = 500
ERRORS_MAX = 100
"""Of why a batch failed."""
