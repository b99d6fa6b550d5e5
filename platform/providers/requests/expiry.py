"""What the log of requests forgets."""

from django.db import connections

KEEP_DAYS = 90

_DELETE = """
    DELETE FROM providers_requestlog
    WHERE content_until < now() OR (content_until IS NULL AND at < now() - make_interval(days => %s))
"""


def expire_requests() -> int:
    """Delete what was captured once its time is over, and refusals after `KEEP_DAYS`. How many rows went."""
    with connections["platform"].cursor() as cursor:
        cursor.execute(_DELETE, [KEEP_DAYS])
        return int(cursor.rowcount)
