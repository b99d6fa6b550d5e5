"""What a report is asked for. Ranges are bounded, and whole quarters of an hour, as rollups are."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from billing.rollups import BUCKET_S
from kernel.errors import InvalidRequest
from kernel.ids import parse_uuid

Interval = Literal["hour", "day", "month"]

RANGE_MAX: Mapping[str | None, timedelta] = {
    "hour": timedelta(days=62),
    "day": timedelta(days=800),
    "month": timedelta(days=3_700),
    None: timedelta(days=3_700),
}
RANGE_DEFAULT = timedelta(days=30)
DIMENSIONS_MAX = 3
VALUES_MAX = 100
"""Of one filter."""
NOBODY = "none"
"""A filter's value for usage without a key, a room or a group."""

COLUMNS: Mapping[str, str] = {
    "model": "f.alias",
    "upstream_model": "f.model",
    "provider": "f.provider",
    "connection": "f.connection",
    "member": "f.membership_id",
    "api_key": "f.api_key_id",
    "room": "CASE WHEN f.subject_kind = 'room' THEN f.subject_id END",
    "group": "g.group_id",
    "cache": "f.cache",
    "status": "f.status",
}
"""What usage may be told apart by: the name in reports, and the column of the rollups."""
IDS = frozenset({"member", "api_key", "room", "group"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A report: from `since` until before `until`, apart by `group_by` and by time, of what the filters let through. `only`
    is the member whose usage alone may be seen."""

    since: datetime
    until: datetime
    zone: ZoneInfo
    interval: Interval | None = None
    group_by: tuple[str, ...] = ()
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    only: uuid.UUID | None = None


def asked_for(
    said: Mapping[str, str], *, zone: ZoneInfo, now: datetime, only: uuid.UUID | None, default_interval: Interval | None
) -> Asked:
    """What the parameters of a request ask for. Raises `InvalidRequest`, naming the parameter."""
    interval = _interval(said.get("interval"), default_interval)
    until = _moment(said, "to", zone) or now
    since = _moment(said, "from", zone) or until - RANGE_DEFAULT
    since, until = _floor(since), _floor(until + timedelta(seconds=BUCKET_S - 1, microseconds=999_999))
    if since >= until:
        raise _bad("from", "has to be before `to`")
    if until - since > RANGE_MAX[interval] + timedelta(days=1):
        raise _bad("from", f"at most {RANGE_MAX[interval].days} days at a time for this interval")
    return Asked(since, until, zone, interval, _group_by(said.get("group_by", "")), filters_of(said), only)


def filters_of(said: Mapping[str, str]) -> dict[str, list[str]]:
    """The filters among the parameters: each a value, or several with commas between. Raises `InvalidRequest`."""
    found: dict[str, list[str]] = {}
    for name in COLUMNS:
        values = [value for value in said.get(name, "").split(",") if value]
        if len(values) > VALUES_MAX:
            raise _bad(name, f"at most {VALUES_MAX} values")
        if any("\x00" in value for value in values):
            raise _bad(name, "no such value can be")
        if name in IDS and any(value != NOBODY and parse_uuid(value) is None for value in values):
            raise _bad(name, "ids are needed")
        if values:
            found[name] = values
    return found


def _interval(text: str | None, default: Interval | None) -> Interval | None:
    match text:
        case None:
            return default
        case "hour" | "day" | "month":
            return text
        case "none":
            return None
    raise _bad("interval", "one of hour, day, month, none is needed")


def _group_by(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for name in text.split(",") if name))
    if unknown := [name for name in names if name not in COLUMNS]:
        raise _bad("group_by", f"there is no {unknown[0][:40]!r}; there are {', '.join(COLUMNS)}")
    if len(names) > DIMENSIONS_MAX:
        raise _bad("group_by", f"at most {DIMENSIONS_MAX} at a time")
    return names


def _moment(said: Mapping[str, str], name: str, zone: ZoneInfo) -> datetime | None:
    text = said.get(name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        aware = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
        if not MINYEAR < aware.year < MAXYEAR:
            raise ValueError("nothing can be reckoned from there")
        return aware
    except (ValueError, OverflowError) as error:
        raise _bad(name, "a day or a moment is needed, as 2026-01-31 or 2026-01-31T12:00:00Z") from error


def _floor(moment: datetime) -> datetime:
    seconds = moment.timestamp()
    return datetime.fromtimestamp(seconds - seconds % BUCKET_S, tz=UTC)


def _bad(name: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"{name}: {what}.", details={"param": name})
