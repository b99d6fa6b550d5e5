"""When a tenant's billing periods begin and end: at its own midnight of an anchor day, clamped to the month's end."""

from calendar import monthrange
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MONTHS_A_YEAR = 12
ZONES_APART = timedelta(days=2)
"""More than any two time zones are (26 hours), and less than a month."""


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its name; UTC where there is none of that name (any more)."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def next_boundary(after: datetime, *, anchor_day: int, zone: ZoneInfo) -> datetime:
    """The first midnight of the anchor day, there, on a day after that of `after`. Where a month is shorter, its last day is
    meant: after 31 January comes 28 February, and then 31 March."""
    today = after.astimezone(zone).date()
    day = _clamped(today.year, today.month, anchor_day)
    if day <= today:
        year, month = divmod(today.year * MONTHS_A_YEAR + today.month, MONTHS_A_YEAR)
        day = _clamped(year, month + 1, anchor_day)
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def following_boundary(boundary: datetime, *, anchor_day: int, zone: ZoneInfo) -> datetime:
    """The boundary a month after one that was worked out before, perhaps in another time zone: there, it may be a few hours
    from the anchor day's midnight here, which is no period of its own."""
    return next_boundary(boundary + ZONES_APART, anchor_day=anchor_day, zone=zone)


def share_of(amount: int, *, part_s: int, whole_s: int) -> int:
    """`amount` for a part of the time, in whole units, rounded down. Raises ValueError for what is no part."""
    if not 0 <= part_s <= whole_s or whole_s == 0:
        raise ValueError("a part of a period is neither negative nor longer than it")
    return amount * part_s // whole_s


def seconds(since: datetime, until: datetime) -> int:
    """Whole seconds from one moment to another, rounded down."""
    return int((until - since).total_seconds() // 1)


def _clamped(year: int, month: int, day: int) -> date:
    return date(year, month, min(day, monthrange(year, month)[1]))
