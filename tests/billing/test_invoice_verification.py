"""Whatever is falsified of invoices is found, in its place."""

from typing import Any

import pytest

from billing.invoices import correcting, profiles
from billing.models import Invoice
from billing.payments.manual import entries
from billing.periods import zone_of
from billing.posting import Transfer, post
from billing.services import subscriptions
from billing.verification import run
from billing.verification.values import Books, Difference
from kernel.ids import uuid7
from tests.billing.invoice_support import CENT, FEB, JAN, MAR, USD, billed, opened, spend
from tests.billing.plan_support import FEB_1 as FEB_2027
from tests.billing.plan_support import inside, plan
from tests.isolation.roles import administrator
from tests.support.cast import Company

INVOICE, LINE, ENTRY = "billing_invoice", "billing_invoiceline", "billing_entry"
FIRST = "(SELECT id FROM billing_invoice WHERE tenant_id = %(t)s AND kind = 'invoice' AND number = 1)"
NOTE = "(SELECT id FROM billing_invoice WHERE tenant_id = %(t)s AND kind = 'credit_note' AND number = 1)"


@pytest.fixture
def books(company: Company) -> Company:
    """Three invoices, one with a fee, one paid in part; and a credit note."""
    opened(company)
    with inside(company):
        profiles.set_terms(tax_bps=2_000, tax_note="", due_days=None)
    spend(company.alice, 100 * CENT + 3, JAN)
    spend(company.bob, 5, JAN)
    first = billed(company, FEB)
    assert first is not None
    spend(company.alice, 7 * CENT, JAN)
    spend(company.alice, 9 * CENT, FEB)
    billed(company, MAR)
    with inside(company):
        subscriptions.subscribe(plan=plan("payg", price_nano=USD), now=FEB_2027)
        correcting.credit(Invoice.objects.get(id=first.id), net_nano=CENT, reason="A mistake")
    billed(company, MAR)
    return company


def found(company: Company) -> list[Difference]:
    differences = run.verify(Books(company.id, company.tenant.slug, zone_of("UTC"), JAN)).findings.differences
    return [one for one in differences if one.check != "prices"]


def test_clean_invoices_are_right(books: Company) -> None:
    verified = run.verify(Books(books.id, books.tenant.slug, zone_of("UTC"), JAN))
    assert [one for one in verified.findings.differences if one.check != "prices"] == []
    assert (verified.findings.checked["invoices"], verified.findings.checked["invoice lines"]) == (4, 10)


CORRUPTIONS: dict[str, tuple[str, str, str, str]] = {
    # what is done, and where it must be found: check, table, column
    "a gap": (f"UPDATE {INVOICE} SET number = 9 WHERE id = {FIRST}", "numbers", INVOICE, "number"),
    "an invoice lost": (
        f"DELETE FROM billing_invoicepayment WHERE invoice_id = {FIRST}; DELETE FROM {INVOICE} WHERE id = {NOTE}; "
        f"DELETE FROM {INVOICE} WHERE id = {FIRST}",
        "numbers",
        INVOICE,
        "number",
    ),
    "a net amount": (
        f"UPDATE {INVOICE} SET net_nano = net_nano + 5, total_nano = total_nano + 5 WHERE id = {FIRST}",
        "invoices",
        INVOICE,
        "net_nano",
    ),
    "a tax": (
        f"UPDATE {INVOICE} SET tax_nano = 0, total_nano = net_nano WHERE id = {FIRST}",
        "invoices",
        INVOICE,
        "tax_nano",
    ),
    "a count of lines": (f"UPDATE {INVOICE} SET lines = 0 WHERE id = {FIRST}", "invoices", INVOICE, "lines"),
    "a range": (f"UPDATE {INVOICE} SET until_tx = 3 WHERE id = {FIRST}", "invoices", INVOICE, "since_tx"),
    "what is carried over": (
        f"UPDATE {LINE} SET amount_nano = amount_nano - 1 WHERE invoice_id = {FIRST} AND kind = 'carried_out'; "
        f"UPDATE {LINE} SET amount_nano = amount_nano + 1 WHERE invoice_id = {FIRST} AND position = 1",
        "invoices",
        INVOICE,
        "carry_nano",
    ),
    "an amount of a line": (
        f"UPDATE {LINE} SET amount_nano = amount_nano + 1 WHERE invoice_id = {FIRST} AND position = 1; "
        f"UPDATE {LINE} SET amount_nano = amount_nano - 1 WHERE invoice_id = {FIRST} AND position = 2",
        "invoice lines",
        LINE,
        "amount_nano",
    ),
    "tokens of a line": (
        f"UPDATE {LINE} SET output = output + 1 WHERE invoice_id = {FIRST} AND position = 1",
        "invoice lines",
        LINE,
        "output",
    ),
    "a line of another model": (
        f"UPDATE {LINE} SET alias = 'x' WHERE invoice_id = {FIRST} AND position = 1",
        "invoice lines",
        LINE,
        "attempts",
    ),
    "a line lost": (
        f"DELETE FROM {LINE} WHERE invoice_id = {FIRST} AND position = 2",
        "invoices",
        INVOICE,
        "net_nano",
    ),
    "a fee": (
        f"UPDATE billing_plancharge SET amount_nano = amount_nano + 1 WHERE tenant_id = %(t)s; "
        f"UPDATE {ENTRY} SET amount_nano = amount_nano + 1 WHERE tenant_id = %(t)s AND kind = 'plan'",
        "invoice fees",
        LINE,
        "amount_nano",
    ),
    "a tax entry lost": (
        f"DELETE FROM {ENTRY} WHERE source_id = {FIRST} AND kind = 'tax'",
        "invoice entries",
        ENTRY,
        "",
    ),
    "a payment": (
        f"UPDATE {INVOICE} SET settled_nano = settled_nano + 1 WHERE id = {FIRST}",
        "invoice payments",
        INVOICE,
        "settled_nano",
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_is_falsified_is_found_where_it_is(books: Company, name: str) -> None:
    statement, check, table, column = CORRUPTIONS[name]
    with administrator() as admin:
        # No trigger is in its way, as none would be in a restore's.
        admin.execute("SET LOCAL session_replication_role = 'replica'")
        for one in statement.split("; "):
            admin.execute(one % {"t": f"'{books.id}'"})  # type: ignore[arg-type]
    # The accounts show that an entry isn't what it was; what it should be, the document says.
    first: Any = next(one for one in found(books) if one.check != "accounts")
    assert (first.check, first.table, first.key.get("column", "")) == (check, table, column)


def test_an_entry_of_a_document_that_is_wrong_is_found(books: Company) -> None:
    with administrator() as admin:
        admin.execute("SET LOCAL session_replication_role = 'replica'")
        admin.execute(
            f"UPDATE {ENTRY} SET debit = 'platform_loss' WHERE source_id = {NOTE} AND kind = 'credit_note' AND line = 1"
            % {"t": f"'{books.id}'"}  # type: ignore[arg-type]
        )
    assert {one.check for one in found(books)} == {"accounts", "invoice entries"}


def test_a_payment_that_pays_more_than_came_in_is_found(books: Company) -> None:
    with inside(books):
        paid = entries.mark_paid(amount_nano=2 * CENT, reference="wire 1")[0]
        entries.mark_paid(amount_nano=3 * CENT, reference="wire 2")
    assert found(books) == []
    _replace(
        f"UPDATE billing_invoicepayment SET payment_id = '{paid.id}'"
        " WHERE payment_id IS NOT NULL AND tenant_id = %(t)s",
        books,
    )
    (one,) = found(books)
    assert (one.check, one.table, one.key["id"]) == ("invoice payments", "billing_payment", paid.id)
    assert (one.expected, one.found) == (f"at most {2 * CENT}", 5 * CENT)


@pytest.mark.parametrize("kind", ["payment", "refund"])
def test_money_in_the_books_that_nobody_brought_is_found(books: Company, kind: str) -> None:
    with inside(books):
        post(Transfer(uuid7(), kind, "cash", "customer", CENT))
    (one,) = found(books)
    assert (one.check, one.key["kind"], one.expected) == ("credit", kind, 0)


def _replace(statement: str, company: Company) -> None:
    with administrator() as admin:
        admin.execute("SET LOCAL session_replication_role = 'replica'")
        admin.execute(statement % {"t": f"'{company.id}'"})  # type: ignore[arg-type]
