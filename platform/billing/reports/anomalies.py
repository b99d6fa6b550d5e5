"""Hours unlike the same hours before.

An hour is compared with the same hour of the day, on days of its kind (Monday to Friday, or the weekend), in the four weeks
before it. Its score is its distance from their median, in units of 1.4826 times their median absolute deviation: for normal
data a standard deviation, and not moved by a few wild hours (Iglewicz and Hoaglin, "How to Detect and Handle Outliers",
1993). Where hours hardly vary the unit is at least a tenth of the median, and a cent.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

BASELINE_DAYS = 28
LEAST_HOURS = 6
"""Of comparable hours, else nothing is said."""
SCORE = 4.0
LEAST_NANO = 100_000_000
"""Ten cents: a difference that is less is no matter."""
_UNIT_LEAST_NANO = 10_000_000
_MAD_TO_SIGMA = 1.4826
_SATURDAY = 5
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Anomaly:
    """An hour of somebody's or something's (`of`), what was charged in it, and what was usual. In nano-USD."""

    of: str
    start: datetime
    charged_nano: int
    usual_nano: int
    score: float


def anomalies(
    hours: Mapping[tuple[str, datetime], int], *, since: datetime, until: datetime, opened: datetime, zone: ZoneInfo
) -> list[Anomaly]:
    """The hours from `since` until `until` that stand out, the furthest first. `hours` has what was charged in each hour (in
    UTC) that had usage, from `BASELINE_DAYS` before; the others since `opened` were of none."""
    found = []
    for of in sorted({name for name, _ in hours}):
        for start in _hours(since, until):
            before = _comparable(start, opened, zone)
            usual = [hours.get((of, hour), 0) for hour in before]
            if len(usual) >= LEAST_HOURS and (anomaly := _judge(of, start, hours.get((of, start), 0), usual)):
                found.append(anomaly)
    return sorted(found, key=lambda one: (-abs(one.score), one.start, one.of))


def _judge(of: str, start: datetime, nano: int, usual: Sequence[int]) -> Anomaly | None:
    middle = median(usual)
    deviation = median(abs(value - middle) for value in usual)
    unit = max(_MAD_TO_SIGMA * deviation, middle / 10, _UNIT_LEAST_NANO)
    score = (nano - middle) / unit
    if abs(score) < SCORE or abs(nano - middle) < LEAST_NANO:
        return None
    return Anomaly(of, start, nano, round(middle), round(score, 2))


def _comparable(start: datetime, opened: datetime, zone: ZoneInfo) -> Iterable[datetime]:
    """The same hour of the days of the same kind before."""
    local = start.astimezone(zone)
    weekend = local.weekday() >= _SATURDAY
    for days in range(1, BASELINE_DAYS + 1):
        # Arithmetic of the wall clock: the same hour also where the clocks were changed between.
        hour = (local.replace(tzinfo=None) - timedelta(days=days)).replace(tzinfo=zone)
        if (hour.weekday() >= _SATURDAY) == weekend and hour >= opened:
            yield hour.astimezone(UTC)


def _hours(since: datetime, until: datetime) -> Iterable[datetime]:
    while since < until:
        yield since
        since += _HOUR
