"""Reports: right by every dimension, at once, in the tenant's time; and CSV that computes nothing."""

import base64
import csv
import itertools
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import transaction
from django.test import AsyncClient

from billing.reports import export as exporting
from billing.reports.anomalies import anomalies
from billing.reports.asking import COLUMNS
from billing.reports.forecast import forecast, month_of
from billing.rollups import roll_up
from billing.types import Charge, Payer, Tokens
from billing.usage_writer import record_all
from kernel.ids import uuid7
from kernel.loop import on_loop
from kernel.spreadsheets import csv_text
from kernel.tenancy import tenant_scope
from tenants.models import Group, GroupMember
from tests.billing.events import usage_event
from tests.isolation.roles import administrator
from tests.support.cast import Actor, Company

AT = datetime(2026, 5, 4, 12, 7, tzinfo=UTC)
RANGE = {"from": "2026-05-01", "to": "2026-06-01"}


def event(who: Actor, nano: int, *, key: uuid.UUID | None = None, room: uuid.UUID | None = None, **changes: Any) -> Any:
    payer = Payer(
        tenant_id=who.tenant_id,
        principal_kind="member",
        membership_id=who.membership_id,
        api_key_id=key,
        subject_kind="room" if room else None,
        subject_id=room,
    )
    charge = Charge(cost_nano=nano // 2, sell_nano=nano, lines=())
    return usage_event(who, payer=payer, charge=charge, tokens=Tokens(output=nano), **{"at": AT, **changes})


@pytest.fixture
def used(company: Company) -> Company:
    """What alice and bob used: half of it rolled up, half of it not yet."""
    key, room = uuid7(), uuid7()
    events = [
        event(company.alice, 1, alias="a"),
        event(company.alice, 10, alias="b", key=key, at=AT + timedelta(days=1)),
        event(company.bob, 100, alias="a", room=room, cache="exact"),
        event(company.bob, 1_000, alias="=cmd()", provider="other", status="failed", at=AT + timedelta(hours=2)),
    ]
    on_loop(record_all(events))
    roll_up(tenant_id=company.id)
    on_loop(record_all([event(company.alice, 10_000, alias="a"), event(company.bob, 100_000, alias="b", key=key)]))
    return company


def report(who: Actor, path: str = "usage", **asked: Any) -> dict[str, Any]:
    answer = who.client.get(f"/api/v1/billing/reports/{path}", {**RANGE, **asked})
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def by(body: dict[str, Any], name: str) -> dict[Any, int]:
    return {row["by"][name]: row["charged_nano"] for row in body["data"]}


def test_usage_is_told_apart_by_each_dimension_and_by_pairs(used: Company) -> None:
    assert report(used.alice)["totals"]["charged_nano"] == 111_111
    alice, bob = str(used.alice.membership_id), str(used.bob.membership_id)
    assert by(report(used.alice, group_by="member", interval="none"), "member") == {alice: 10_011, bob: 101_100}
    assert by(report(used.alice, group_by="model", interval="none"), "model") == {
        "a": 10_101,
        "b": 100_010,
        "=cmd()": 1_000,
    }
    for one, other in itertools.combinations(COLUMNS, 2):
        body = report(used.alice, group_by=f"{one},{other}", interval="month", limit="1000")
        assert sum(row["charged_nano"] for row in body["data"]) == 111_111, (one, other)
    body = report(used.alice, group_by="member,model", interval="none")
    assert {(row["names"]["member"], row["by"]["model"]): row["charged_nano"] for row in body["data"]}[
        "bob", "b"
    ] == 100_000


def test_filters_narrow_and_lead_to_the_requests(used: Company) -> None:
    asked = {"model": "a,b", "member": str(used.bob.membership_id)}
    assert report(used.alice, **asked)["totals"]["charged_nano"] == 100_100
    traced = used.alice.client.get("/api/v1/billing/usage", {**RANGE, **asked}).json()["data"]
    assert sum(one["cost_nano"] for one in traced) == 100_100
    assert report(used.alice, api_key="none")["totals"]["charged_nano"] == 11_101
    keyless = used.alice.client.get("/api/v1/billing/usage", {**RANGE, "api_key": "none"}).json()["data"]
    assert sum(one["cost_nano"] for one in keyless) == 11_101
    assert {one["provider_usage"]["input"] for one in traced} == {5}


def test_groups_are_who_is_in_them_now(used: Company) -> None:
    with tenant_scope(used.id), transaction.atomic():
        one, two = (Group.objects.create(tenant_id=used.id, name=name) for name in ("One", "Two"))
        for group in (one, two):
            GroupMember.objects.create(tenant_id=used.id, group=group, membership_id=used.bob.membership_id)
    body = report(used.alice, group_by="group", interval="none")
    assert by(body, "group") == {None: 10_011, str(one.id): 101_100, str(two.id): 101_100}
    assert body["totals"]["charged_nano"] == 111_111
    assert {row["names"].get("group") for row in body["data"]} == {None, "One", "Two"}
    both = report(used.alice, group=f"{one.id},{two.id}")
    assert both["totals"]["charged_nano"] == 101_100


@pytest.mark.parametrize(
    ("zone", "moment", "day"),
    [
        ("Asia/Kathmandu", datetime(2026, 5, 4, 18, 14, tzinfo=UTC), "2026-05-04T00:00:00+05:45"),
        ("Asia/Kathmandu", datetime(2026, 5, 4, 18, 15, tzinfo=UTC), "2026-05-05T00:00:00+05:45"),
        ("Australia/Adelaide", datetime(2026, 5, 4, 14, 30, tzinfo=UTC), "2026-05-05T00:00:00+09:30"),
        ("America/New_York", datetime(2026, 5, 5, 3, 59, tzinfo=UTC), "2026-05-04T00:00:00-04:00"),
    ],
)
@pytest.mark.parametrize("rolled", [True, False])
def test_days_are_the_tenants(company: Company, zone: str, moment: datetime, day: str, rolled: bool) -> None:
    with administrator() as admin:
        admin.execute("UPDATE tenants_tenant SET timezone = %s WHERE id = %s", (zone, company.id))
    on_loop(record_all([event(company.alice, 7, at=moment)]))
    if rolled:
        roll_up(tenant_id=company.id)
    (row,) = report(company.alice)["data"]
    assert (row["start"], row["charged_nano"]) == (day, 7)


def test_pages_lose_and_repeat_nothing(used: Company) -> None:
    whole = report(used.alice, group_by="member,model", limit="1000")["data"]
    paged, cursor = [], None
    for _ in range(20):
        body = report(used.alice, group_by="member,model", limit="1", **({"cursor": cursor} if cursor else {}))
        paged += body["data"]
        if (cursor := body["next_cursor"]) is None:
            break
    assert paged == whole
    assert len(whole) == 5


def test_one_sees_ones_own_and_cost_only_with_the_permission(used: Company) -> None:
    own = report(used.bob)
    assert own["totals"]["charged_nano"] == 101_100
    assert own["totals"]["provider_cost_nano"] is None
    assert report(used.alice)["totals"]["provider_cost_nano"] == 55_555
    assert report(used.bob, member=str(used.alice.membership_id))["data"] == []


def test_the_top_are_told_dearest_first(used: Company) -> None:
    body = report(used.alice, "top", by="member")
    assert [row["names"]["member"] for row in body["data"]] == ["bob", "alice"]
    assert [row["charged_nano"] for row in report(used.alice, "top", by="model", limit="2")["data"]] == [
        100_010,
        10_101,
    ]


@pytest.mark.parametrize(
    "asked",
    [
        {"group_by": "nothing"},
        {"group_by": "model,member,cache,status"},
        {"interval": "week"},
        {"from": "yesterday"},
        {"from": "2026-06-02"},
        {"from": "1990-01-01", "interval": "hour"},
        {"member": "bob"},
        {"model": "a\x00b"},
        {"limit": "0"},
        {"to": "0001-01-02"},
        {"from": "9999-12-30", "to": "9999-12-31T23:59:59Z"},
        {"cursor": "AAAA"},
        {"cursor": "WyJ4Il0="},
    ],
)
def test_what_can_not_be_answered_is_refused_by_name(acme: Company, asked: dict[str, str]) -> None:
    answer = acme.alice.client.get("/api/v1/billing/reports/usage", {**RANGE, **asked})
    assert answer.status_code == 400, answer.content
    assert answer.json()["details"]["param"] in asked
    refused = acme.alice.client.get("/api/v1/billing/reports/usage", {**RANGE, **asked, "format": "csv"})
    assert (refused.status_code, refused["Content-Type"]) == (400, "application/json")


async def test_csv_is_the_same_in_pieces(used: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "ROWS_AT_ONCE", 2)
    answer = await AsyncClient().get(
        "/api/v1/billing/reports/usage",
        {**RANGE, "group_by": "model,member"},
        headers={"accept": "text/csv", "authorization": f"Bearer {used.alice.access_token()}"},
    )
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    chunks = [chunk async for chunk in answer.streaming_content]
    assert len(chunks) == 4
    head, *lines = csv.reader(StringIO(b"".join(chunks).decode()))
    assert head[:4] == ["start", "model", "member", "member_name"]
    assert len(lines) == 5
    assert sum(int(line[head.index("charged_nano")]) for line in lines) == 111_111
    assert "'=cmd()" in {line[1] for line in lines}


def test_a_day_whose_midnight_comes_twice_is_whole_on_every_page(company: Company) -> None:
    with administrator() as admin:
        admin.execute("UPDATE tenants_tenant SET timezone = 'Atlantic/Azores' WHERE id = %s", (company.id,))
    midnight = datetime(2026, 10, 25, tzinfo=UTC)
    events = [
        event(who, 1, at=midnight + timedelta(hours=n)) for who in (company.alice, company.bob) for n in (0, 1, 25)
    ]
    on_loop(record_all([*events, event(company.bob, 1, at=midnight - timedelta(minutes=1))]))
    asked = {"from": "2026-10-25", "to": "2026-10-26", "group_by": "member", "limit": "1"}
    first = report(company.alice, **asked)
    second = report(company.alice, **asked, cursor=first["next_cursor"])
    assert [row["charged_nano"] for body in (first, second) for row in body["data"]] == [2, 2]
    assert {row["start"] for body in (first, second) for row in body["data"]} == {"2026-10-25T00:00:00Z"}


def test_a_cursor_that_is_no_text_is_refused(company: Company) -> None:
    cursor = base64.urlsafe_b64encode(b'["2026-05-01T00:00:00+00:00", "\\ud800"]').decode()
    asked = {**RANGE, "group_by": "model", "cursor": cursor}
    answer = company.alice.client.get("/api/v1/billing/reports/usage", asked)
    assert (answer.status_code, answer.json()["details"]) == (400, {"param": "cursor"})


@pytest.mark.parametrize("name", ["top", "forecast", "anomalies"])
def test_the_report_of_usage_alone_is_a_table(acme: Company, name: str) -> None:
    url = f"/api/v1/billing/reports/{name}"
    assert acme.alice.client.get(f"{url}?format=csv").status_code == 404
    assert acme.alice.client.get(url, headers={"Accept": "text/csv"}).status_code == 406
    assert acme.alice.client.get(url, headers={"Accept": "text/csv, */*"}).status_code == 200


def test_cells_that_spreadsheets_would_compute_are_quoted() -> None:
    assert csv_text([["=1", "+1", "-1", "@a", "\ta", "\ra", "a=", -1]]) == "'=1,'+1,'-1,'@a,'\ta,\"'\ra\",a=,-1\r\n"


def test_what_providers_charge_is_not_in_the_csv_of_who_may_not_see_it() -> None:
    asked = exporting.Asked(AT, AT, ZoneInfo("UTC"), "day", ("model",))
    assert "provider_cost_nano" in exporting.columns_of(asked, names=(), with_cost=True)
    assert "provider_cost_nano" not in exporting.columns_of(asked, names=(), with_cost=False)


def _days(last: date, nanos: Iterator[int], count: int) -> dict[date, int]:
    return {last - timedelta(days=number): next(nanos) for number in range(count)}


def test_a_forecast_goes_by_weekdays() -> None:
    zone, now = ZoneInfo("UTC"), datetime(2026, 5, 25, tzinfo=UTC)
    since, until = month_of(now, zone)
    # Ten on working days, nothing on weekends, for four weeks; a week is left, with five working days.
    days = {now.date() - timedelta(days=n): 10 for n in range(1, 29) if (now.date() - timedelta(days=n)).weekday() < 5}
    found = forecast(days, since=since, until=until, now=now, zone=zone, opened=date(2026, 1, 1))
    assert (found.so_far_nano, found.expected_nano, found.method) == (160, 210, "weekdays")
    assert (found.low_nano, found.high_nano) == (210, 210)


def test_a_forecast_says_how_unsure_it_is_and_nothing_without_history() -> None:
    zone, now = ZoneInfo("UTC"), datetime(2026, 5, 6, 12, tzinfo=UTC)
    since, until = month_of(now, zone)
    days = _days(date(2026, 5, 5), itertools.cycle([1_000, 3_000]), 4)
    found = forecast(days, since=since, until=until, now=now, zone=zone, opened=date(2026, 5, 2))
    assert (found.method, found.days, found.so_far_nano) == ("daily_mean", 4, 8_000)
    assert found.expected_nano == 8_000 + round(2_000 * 25.5)
    assert found.low_nano is not None
    assert found.high_nano is not None
    assert 8_000 < found.low_nano < found.expected_nano < found.high_nano
    none = forecast({}, since=since, until=until, now=now, zone=zone, opened=date(2026, 5, 5))
    assert (none.expected_nano, none.method) == (None, "too_little_history")


def test_hours_unlike_the_same_hours_before_stand_out() -> None:
    zone, start = ZoneInfo("Europe/Berlin"), datetime(2026, 5, 6, 8, tzinfo=UTC)
    dollar = 1_000_000_000
    hours = {("a", start - timedelta(days=n)): dollar + n * 10_000_000 for n in range(1, 29)}
    hours |= {("b", start - timedelta(days=n)): dollar for n in range(1, 29)}
    hours |= {("a", start): 9 * dollar, ("b", start): dollar}
    asked = {"since": start, "until": start + timedelta(hours=1), "zone": zone}
    (one,) = anomalies(hours, opened=start - timedelta(days=90), **asked)  # type: ignore[arg-type]
    assert (one.of, one.charged_nano) == ("a", 9 * dollar)
    assert one.score > 4
    # Nothing is said of who has been there for too short a time.
    assert anomalies(hours, opened=start - timedelta(days=3), **asked) == []  # type: ignore[arg-type]


def test_forecast_and_anomalies_over_rest(used: Company) -> None:
    now = datetime.now(tz=UTC).replace(minute=1)
    hour = now - timedelta(hours=3)
    past = [event(used.bob, 1_000_000_000, at=hour - timedelta(days=n)) for n in range(1, 29)]
    on_loop(record_all([*past, event(used.bob, 90_000_000_000, at=hour)]))
    with administrator() as admin:
        admin.execute("UPDATE tenants_tenant SET created_at = now() - interval '90 days' WHERE id = %s", (used.id,))
    found = used.alice.client.get("/api/v1/billing/reports/anomalies", {"by": "member"}).json()["data"]
    assert [(one["name"], one["charged_nano"]) for one in found] == [("bob", 90_000_000_000)]
    answer = used.alice.client.get("/api/v1/billing/reports/forecast").json()
    assert answer["method"] == "weekdays"
    assert answer["so_far_nano"] <= answer["expected_nano"] <= answer["high_nano"]
