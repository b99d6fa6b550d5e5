"""When periods begin, and what a part of one costs."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.periods import next_boundary, seconds, share_of, zone_of

pytestmark = pytest.mark.no_database
UTC_ZONE = ZoneInfo("UTC")


def boundaries(start: datetime, anchor_day: int, zone: ZoneInfo, number: int) -> list[str]:
    found = []
    for _ in range(number):
        start = next_boundary(start, anchor_day=anchor_day, zone=zone)
        found.append(start.astimezone(zone).strftime("%Y-%m-%d %H:%M"))
    return found


def test_the_anchor_is_clamped_to_the_months_end_and_comes_back() -> None:
    begun = datetime(2027, 1, 31, 14, 30, tzinfo=UTC)
    assert boundaries(begun, 31, UTC_ZONE, 4) == [
        "2027-02-28 00:00",
        "2027-03-31 00:00",
        "2027-04-30 00:00",
        "2027-05-31 00:00",
    ]
    assert boundaries(datetime(2028, 1, 30, tzinfo=UTC), 30, UTC_ZONE, 2) == ["2028-02-29 00:00", "2028-03-30 00:00"]
    assert boundaries(datetime(2027, 12, 31, 23, tzinfo=UTC), 1, UTC_ZONE, 2) == [
        "2028-01-01 00:00",
        "2028-02-01 00:00",
    ]


def test_periods_begin_at_the_tenants_own_midnight() -> None:
    kathmandu = ZoneInfo("Asia/Kathmandu")
    assert next_boundary(datetime(2027, 1, 31, 18, 15, tzinfo=UTC), anchor_day=1, zone=kathmandu) == datetime(
        2027, 2, 28, 18, 15, tzinfo=UTC
    )
    # There is no midnight on this day in Beirut: the clock goes from 23:59 to 01:00.
    beirut = ZoneInfo("Asia/Beirut")
    assert boundaries(datetime(2027, 3, 1, tzinfo=UTC), 28, beirut, 1) == ["2027-03-28 01:00"]
    assert boundaries(datetime(2027, 3, 28, tzinfo=UTC), 28, beirut, 1) == ["2027-04-28 00:00"]


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(946_684_800, 3_786_912_000).map(lambda at: datetime.fromtimestamp(at, tz=UTC)),
    anchor_day=st.integers(1, 31),
    zone=st.sampled_from(["UTC", "Asia/Beirut", "America/Sao_Paulo", "Pacific/Apia", "Europe/Berlin", "Asia/Tokyo"]),
)
def test_periods_follow_each_other_for_a_month_or_so(start: datetime, anchor_day: int, zone: str) -> None:
    place = ZoneInfo(zone)
    first = next_boundary(start, anchor_day=anchor_day, zone=place)
    second = next_boundary(first, anchor_day=anchor_day, zone=place)
    assert start < first < second
    assert 27 <= (second - first).total_seconds() / 86_400 <= 32.1


def test_an_unknown_zone_is_utc() -> None:
    assert zone_of("Nowhere/At_All") == zone_of("UTC") == UTC_ZONE


@settings(max_examples=60, deadline=None)
@given(amount=st.integers(0, 10**17), whole=st.integers(1, 32 * 86_400), data=st.data())
def test_shares_of_a_period_never_add_up_to_more_than_it(amount: int, whole: int, data: st.DataObject) -> None:
    part = data.draw(st.integers(0, whole))
    one, other = (share_of(amount, part_s=each, whole_s=whole) for each in (part, whole - part))
    assert 0 <= amount - one - other <= 1


def test_no_part_is_longer_than_the_whole() -> None:
    with pytest.raises(ValueError, match="a part"):
        share_of(1, part_s=2, whole_s=1)
    assert seconds(datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, 0, 0, 1, 999_999, tzinfo=UTC)) == 1
