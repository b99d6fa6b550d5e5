"""A clean ledger passes; whatever is falsified is found, in its place."""

import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command
from django.db import transaction

from billing.ledger import admit, settle
from billing.models import UsageRecord, Verification
from billing.pricing import charge
from billing.rollups import roll_up
from billing.tasks import verify as verify_task
from billing.types import Tariff, Tokens
from billing.verification import run
from kernel import adb
from kernel.ids import uuid7
from kernel.tenancy import tenant_scope
from tenants.models import Tenant
from tenants.services.provisioning import set_time_zone
from tests.billing.events import usage_event
from tests.billing.ledger_support import asking, budget
from tests.billing.marks import others_ended
from tests.billing.tariff_support import tariff_in_book
from tests.isolation.roles import administrator
from tests.support.cast import Company

MODEL = "verified/model"


@pytest.fixture(scope="module")
def tariff(database: str, django_db_blocker: Any) -> Tariff:
    """Prices of the book: a nano-dollar and a half for a token read, four for one written."""
    with django_db_blocker.unblock():
        return tariff_in_book(MODEL, input_nano_per_mtok=1_500_001, output_nano_per_mtok=4_000_000)


@pytest.fixture
def books(company: Company, tariff: Tariff) -> Company:
    """Three requests, one of them unseen, and one that is under way, against two budgets."""
    _use(company, tariff)
    others_ended()
    roll_up(tenant_id=company.id)
    return company


@async_to_sync
async def _use(company: Company, tariff: Tariff) -> None:
    await budget(company, 1_000_000, period="month")
    await budget(company, 1_000_000, measure="tokens", scope=f"member:{company.alice.membership_id}")
    for number in range(3):
        asked = asking(company.alice, cap=500)
        tokens = Tokens(input=7 + number, output=11)
        event = usage_event(
            company.alice,
            request_id=asked.request_id,
            tokens=tokens,
            charge=charge(tokens, tariff),
            unseen=number == 2,
        )
        await settle(await admit(asked), [event])
    await admit(asking(company.alice, cap=40))
    await adb.close()


def found(company: Company) -> dict[str, Any]:
    """What the command says of a company."""
    printed = StringIO()
    try:
        call_command("billing_verify", tenant=company.tenant.slug, json=True, stdout=printed)
    except CommandError as error:
        returned = error.returncode
    else:
        returned = 0
    body: dict[str, Any] = json.loads(printed.getvalue())
    assert returned == bool(body["differences"])
    return body


def test_a_clean_ledger_is_right(books: Company) -> None:
    body = found(books)
    assert body["differences"] == []
    checked = body["checked"]
    assert checked["prices"] == 3
    assert checked["entries"] == 6
    assert checked["accounts"] == 9
    assert (checked["balances"], checked["settled"], checked["rollups"]) == (2, 2, 1)
    with tenant_scope(books.id), transaction.atomic():
        assert [one.differences for one in Verification.objects.all()] == [[]]


def test_days_of_another_time_zone_are_no_difference(company: Company, tariff: Tariff) -> None:
    # At any time it is another day in one of these than in UTC.
    zone = "Pacific/Pago_Pago" if datetime.now(tz=UTC).hour < 11 else "Pacific/Kiritimati"
    set_time_zone(slug=company.tenant.slug, time_zone=zone)
    async_to_sync(budget)(company, 1_000_000, period="day")
    _use(company, tariff)
    others_ended()
    roll_up(tenant_id=company.id)
    set_time_zone(slug=company.tenant.slug, time_zone="UTC")
    assert found(company)["differences"] == []


USAGE, ENTRY, BALANCE = "billing_usagerecord", "billing_entry", "billing_budgetbalance"
ONE = "(SELECT min(request_id::text)::uuid FROM billing_usagerecord WHERE tenant_id = %(t)s)"
CORRUPTIONS: dict[str, tuple[str, str, str, str]] = {
    # what is done, and where it must be found: check, table, column
    "a cost": (f"UPDATE {USAGE} SET cost_nano = cost_nano + 1 WHERE request_id = {ONE}", "prices", USAGE, "cost_nano"),
    "a price": (
        f"UPDATE {USAGE} SET sell_nano = sell_nano - 1 WHERE request_id = {ONE}",
        "prices",
        USAGE,
        "sell_nano + loss_nano",
    ),
    "a line": (
        f"UPDATE {USAGE} SET charge_lines = jsonb_set(charge_lines, '{{0,sell_nano}}', '1') WHERE request_id = {ONE}",
        "prices",
        USAGE,
        "charge_lines[0].sell_nano",
    ),
    "a line's price": (
        f"UPDATE {USAGE} SET charge_lines = jsonb_set(charge_lines, '{{1,price}}', '\"{uuid7()}\"') WHERE request_id = {ONE}",
        "prices",
        USAGE,
        "charge_lines[1].price",
    ),
    "a line's tier": (
        f"UPDATE {USAGE} SET charge_lines = jsonb_set(charge_lines, '{{0,tier}}', '\"batch\"') WHERE request_id = {ONE}",
        "prices",
        USAGE,
        "charge_lines[0].tier",
    ),
    "a markup": (
        f"UPDATE {USAGE} SET charge_lines = jsonb_set(charge_lines, '{{0,markup_bps}}', '9000') WHERE request_id = {ONE}",
        "prices",
        USAGE,
        "charge_lines[0].sell_nano",
    ),
    "a count": (f"UPDATE {USAGE} SET output = output + 1 WHERE request_id = {ONE}", "prices", USAGE, "output"),
    "a record lost": (f"DELETE FROM {USAGE} WHERE request_id = {ONE}", "entries", ENTRY, "sell_nano"),
    "an entry lost": (
        f"DELETE FROM {ENTRY} WHERE source_id = {ONE} AND kind = 'usage'",
        "entries",
        ENTRY,
        "sell_nano",
    ),
    "an entry changed": (
        f"UPDATE {ENTRY} SET amount_nano = amount_nano + 1 WHERE source_id = {ONE} AND kind = 'cost'",
        "entries",
        ENTRY,
        "cost_nano",
    ),
    "an entry elsewhere": (
        f"UPDATE {ENTRY} SET debit = 'cash' WHERE source_id = {ONE} AND kind = 'usage'",
        "entries",
        ENTRY,
        "sell_nano",
    ),
    "an account": (
        "UPDATE billing_account SET debits_nano = debits_nano + 1 WHERE tenant_id = %(t)s AND kind = 'customer'",
        "accounts",
        "billing_account",
        "debits_nano",
    ),
    "a balance held": (
        f"UPDATE {BALANCE} SET held = held - 1 WHERE tenant_id = %(t)s AND measure = 'nano'",
        "held",
        BALANCE,
        "held",
    ),
    "a hold lost": ("DELETE FROM billing_hold WHERE tenant_id = %(t)s", "held", BALANCE, "held"),
    "a balance settled": (
        f"UPDATE {BALANCE} SET settled = settled + 900 WHERE tenant_id = %(t)s AND measure = 'nano'",
        "settled",
        BALANCE,
        "settled",
    ),
    "a limit passed": (
        "ALTER TABLE billing_budget DISABLE TRIGGER tightening; "
        "UPDATE billing_budget SET limit_amount = 1 WHERE tenant_id = %(t)s AND measure = 'nano'; "
        "ALTER TABLE billing_budget ENABLE TRIGGER tightening",
        "limit",
        BALANCE,
        "held + settled",
    ),
    "a hold too old": (
        "UPDATE billing_hold SET created_at = now() - interval '1 hour' WHERE tenant_id = %(t)s",
        "stale hold",
        "billing_hold",
        "",
    ),
    "a rollup": (
        "UPDATE billing_usagerollup SET sell_nano = sell_nano + 1 WHERE tenant_id = %(t)s",
        "rollups",
        "billing_usagerollup",
        "sell_nano",
    ),
    "a rollup lost": (
        "DELETE FROM billing_usagerollup WHERE tenant_id = %(t)s",
        "rollups",
        "billing_usagerollup",
        "attempts",
    ),
    "a mark ahead": (
        "UPDATE billing_rollupmark SET below_tx = 1000000000000000 WHERE tenant_id = %(t)s",
        "mark",
        "billing_rollupmark",
        "below_tx",
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_is_falsified_is_found_where_it_is(books: Company, name: str) -> None:
    statement, check, table, column = CORRUPTIONS[name]
    with tenant_scope(books.id), transaction.atomic():
        first = min(str(record.request_id) for record in UsageRecord.objects.all())
    _falsify(statement, books)
    differences = found(books)["differences"]
    matching = [one for one in differences if (one["check"], one["table"]) == (check, table)]
    assert matching, differences
    assert matching[0]["key"].get("column", "") == column
    assert matching[0]["expected"] != matching[0]["found"]
    assert differences[0] in matching or name == "a mark ahead"
    if table in (USAGE, ENTRY):
        assert differences[0]["key"]["request_id"] == first


def _falsify(statement: str, company: Company) -> None:
    with administrator() as connection:
        # Not even the triggers that keep the ledger append-only are in the way.
        connection.execute("SET LOCAL session_replication_role = replica")
        for each in statement.split("; "):
            connection.execute(each.replace("%(t)s", f"'{company.id}'").encode())


def test_a_limit_that_was_lowered_is_no_difference(books: Company) -> None:
    with administrator() as connection:
        connection.execute("UPDATE billing_budget SET limit_amount = 1 WHERE tenant_id = %s", (books.id,))
    assert found(books)["differences"] == []


def test_the_first_difference_is_told_in_words_and_kept(books: Company) -> None:
    _falsify(CORRUPTIONS["a cost"][0], books)
    printed = StringIO()
    with pytest.raises(CommandError, match=f"The books of 1 differ: {books.tenant.slug}"):
        call_command("billing_verify", tenant=books.tenant.slug, stdout=printed)
    assert "first in billing_usagerecord at request_id" in printed.getvalue()
    again = StringIO()
    with pytest.raises(CommandError):
        call_command("billing_verify", tenant=books.tenant.slug, last=True, json=True, stdout=again)
    assert json.loads(again.getvalue())["differences"][0]["check"] == "prices"


def test_the_nightly_task_looks_at_every_tenant(
    books: Company, neighbour: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    _falsify(CORRUPTIONS["a cost"][0], books)
    listed = [books.id, neighbour.id]
    # The suite's database has hundreds of tenants.
    monkeypatch.setattr(run, "_tenants", lambda slug: Tenant.objects.using("platform").filter(id__in=listed))
    assert verify_task.apply().get() == {"right": 1, "differ": 1}
    with tenant_scope(neighbour.id), transaction.atomic():
        assert [one.differences for one in Verification.objects.all()] == [[]]
    with tenant_scope(books.id), transaction.atomic():
        (kept,) = Verification.objects.all()
    assert kept.differences[0]["table"] == USAGE


def test_books_that_cant_be_verified_dont_stop_the_others(
    books: Company, neighbour: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    _falsify(f"UPDATE {USAGE} SET charge_lines = '7' WHERE request_id = {ONE}", books)
    listed = [books.id, neighbour.id]
    monkeypatch.setattr(run, "_tenants", lambda slug: Tenant.objects.using("platform").filter(id__in=listed))
    assert verify_task.apply().get() == {"right": 1, "differ": 1}
    with tenant_scope(books.id), transaction.atomic():
        (kept,) = Verification.objects.all()
    assert kept.differences[-1]["check"] == "unfinished"


def test_what_was_before_is_left_out(books: Company) -> None:
    _falsify(CORRUPTIONS["a line"][0], books)
    printed = StringIO()
    call_command("billing_verify", tenant=books.tenant.slug, since=datetime.now(tz=UTC), json=True, stdout=printed)
    assert json.loads(printed.getvalue())["checked"]["accounts"] == 9
    assert "prices" not in json.loads(printed.getvalue())["checked"]
