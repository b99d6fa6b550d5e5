"""Pages put together are the whole list, without repeats, however it is cut and whatever is added meanwhile."""

import uuid
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from kernel.api.pagination import MAX_LIMIT, Page, paginate
from kernel.errors import InvalidRequest
from kernel.ids import uuid7
from tenants.models import AuditEvent
from tests.support.cast import Company, found_company

COUNT = 23


@pytest.fixture(scope="module")
def company_with_events(database: str, django_db_blocker: Any) -> Company:
    with django_db_blocker.unblock():
        company = found_company("pages")
        with company.scope(), transaction.atomic():
            AuditEvent.objects.bulk_create([event(company) for _ in range(COUNT)])
        return company


def event(company: Company) -> AuditEvent:
    return AuditEvent(id=uuid7(), tenant_id=company.id, actor_kind="member", action="test.paged", subject_kind="x")


def page(company: Company, descending: bool = False, **query: Any) -> Page:
    request = Request(APIRequestFactory().get("/", {name: value for name, value in query.items() if value is not None}))
    with company.scope(), transaction.atomic():
        rows = AuditEvent.objects.filter(action="test.paged")
        return paginate(request, rows, render=lambda row: row.id, descending=descending)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(1, 30), descending=st.booleans())
def test_pages_put_together_are_all_rows_in_order(company_with_events: Company, limit: int, descending: bool) -> None:
    with company_with_events.scope(), transaction.atomic():
        everything = set(AuditEvent.objects.filter(action="test.paged").values_list("id", flat=True))
    found: list[uuid.UUID] = []
    cursor = None
    while True:
        one = page(company_with_events, descending, limit=limit, cursor=cursor)
        assert len(one.data) <= limit
        found += one.data
        cursor = one.next_cursor
        if cursor is None:
            break
        assert len(one.data) == limit
    assert found == sorted(everything, reverse=descending)


def test_rows_added_meanwhile_come_at_the_end_or_not_at_all(company_with_events: Company) -> None:
    first = page(company_with_events, limit=5)
    newest = page(company_with_events, True, limit=5)
    with company_with_events.scope(), transaction.atomic():
        added = event(company_with_events)
        added.save()
    rest = page(company_with_events, limit=MAX_LIMIT, cursor=first.next_cursor).data
    assert rest[-1] == added.id
    assert not set(first.data) & set(rest)
    assert added.id not in page(company_with_events, True, limit=MAX_LIMIT, cursor=newest.next_cursor).data


@pytest.mark.parametrize("limit", ["0", "-1", "101", "ten", "1e1", "", "٣", "1.0", "00000"])
def test_a_bad_limit_is_named(company_with_events: Company, limit: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        page(company_with_events, limit=limit)
    assert refused.value.details == {"param": "limit"}


@pytest.mark.parametrize("cursor", ["x", "****", "é", "AA==", "bm90LWFuLWlk", "A" * 500, "AAECAw", "JyBPUiB0cnVlIC0t"])
def test_a_bad_cursor_is_named(company_with_events: Company, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        page(company_with_events, cursor=cursor)
    assert refused.value.details == {"param": "cursor"}


def test_another_tenants_cursor_shows_nothing_of_it(company_with_events: Company, acme: Company) -> None:
    cursor = page(company_with_events, limit=1).next_cursor
    assert page(acme, cursor=cursor).data == []
