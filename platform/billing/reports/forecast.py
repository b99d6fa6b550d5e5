"""What a period will come to, if days go on as they went.

Each day to come is expected to be as the mean of the same weekday in the last four weeks, today's rest as that share of
the day that is left. How far the past days strayed from their weekdays' means says how sure that is: the range holds
four outcomes of five if days are independent and their sum about normal, which both are assumptions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from statistics import fmean
from typing import Literal
from zoneinfo import ZoneInfo

HISTORY_DAYS = 28
LEAST_DAYS = 3
"""Of whole days with usage behind them: with fewer nothing is foretold."""
_Z_80 = 1.2816
"""Four fifths of a normal distribution lie within so many standard deviations."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What was charged in the period so far, and is expected by its end with a range that holds four times of five; None when
    there is too little to go by. `method` says how, `days` by how many whole days. In nano-USD."""

    so_far_nano: int
    expected_nano: int | None
    low_nano: int | None
    high_nano: int | None
    method: Literal["weekdays", "daily_mean", "too_little_history"]
    days: int


def month_of(now: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The calendar month that `now` is in, in a time zone."""
    local = now.astimezone(zone)
    first = date(local.year, local.month, 1)
    following = date(local.year + local.month // 12, local.month % 12 + 1, 1)
    return _midnight(first, zone), _midnight(following, zone)


def forecast(
    days: Mapping[date, int], *, since: datetime, until: datetime, now: datetime, zone: ZoneInfo, opened: date
) -> Forecast:
    """The forecast for `since` until `until`, from each day's charges (days of no charge may be absent). Days before `opened`,
    when the tenant came, count as none at all."""
    today = now.astimezone(zone).date()
    so_far = sum(nano for day, nano in days.items() if since.astimezone(zone).date() <= day <= today)
    first = min(days, default=today)
    begin = max(today - timedelta(days=HISTORY_DAYS), opened, first)
    past = [(day, days.get(day, 0)) for day in _between(begin, today)]
    if len(past) < LEAST_DAYS:
        return Forecast(so_far, None, None, None, "too_little_history", len(past))
    by_weekday = len(past) >= HISTORY_DAYS // 2
    means = _means(past, by_weekday=by_weekday)
    rest = _rest(now, until, zone)
    to_come = sum(means[day.weekday()] * share for day, share in rest)
    spread = _spread(past, means) * math.sqrt(sum(share for _, share in rest)) * _Z_80
    expected = so_far + round(to_come)
    return Forecast(
        so_far,
        expected,
        max(so_far, expected - round(spread)),
        expected + round(spread),
        "weekdays" if by_weekday else "daily_mean",
        len(past),
    )


def _means(past: Sequence[tuple[date, int]], *, by_weekday: bool) -> list[float]:
    overall = fmean(nano for _, nano in past)
    if not by_weekday:
        return [overall] * 7
    same = [[nano for day, nano in past if day.weekday() == weekday] for weekday in range(7)]
    return [fmean(nanos) if nanos else overall for nanos in same]


def _spread(past: Sequence[tuple[date, int]], means: Sequence[float]) -> float:
    """The standard deviation of days about their means; each distinct mean takes a degree of freedom."""
    squares = math.fsum((nano - means[day.weekday()]) ** 2 for day, nano in past)
    return math.sqrt(squares / max(1, len(past) - len(set(means))))


def _rest(now: datetime, until: datetime, zone: ZoneInfo) -> list[tuple[date, float]]:
    """The days until the end, each with the share of it that is left."""
    found = []
    for day in _between(now.astimezone(zone).date(), until.astimezone(zone).date()):
        begins, ends = _midnight(day, zone), _midnight(day + timedelta(days=1), zone)
        left = (ends - max(now, begins)) / (ends - begins)
        found.append((day, max(0.0, left)))
    return found


def _between(first: date, end: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((end - first).days)]


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
