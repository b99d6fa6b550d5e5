"""The job that makes invoices, and the operator's command."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from billing.invoices.upkeep import look_after_invoices, tell_overdue
from billing.models import Invoice
from billing.payments.manual import entries
from billing.posting import lock_books
from billing.services import subscriptions
from tenants.notifications.models import Notice
from tests.billing.invoice_support import APR, CENT, FEB, JAN, MAR, again, an_invoice, invoices, opened, spend
from tests.billing.marks import others_ended
from tests.billing.plan_support import books, inside, plan
from tests.billing.test_invoice_documents import IN_MEMORY
from tests.isolation.roles import administrator
from tests.support.cast import Company

HOUR = timedelta(hours=1)


def worked(now: datetime) -> None:
    others_ended()
    with IN_MEMORY:
        look_after_invoices(now=now)


def command(*arguments: str) -> Any:
    out = StringIO()
    call_command("invoice", *arguments, "--json", stdout=out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_the_job_drafts_issues_writes_sends_and_tells(company: Company) -> None:
    opened(company)
    spend(company.alice, 5 * CENT, JAN)
    worked(FEB)
    (draft,) = invoices(company)
    assert (draft.state, draft.net_nano, draft.finalize_at) == ("draft", 5 * CENT, FEB + 24 * HOUR)
    worked(FEB + 23 * HOUR)
    assert [one.state for one in invoices(company)] == ["draft"]
    # Who comes late, but not too late, is on it.
    spend(company.alice, CENT, JAN)
    for _ in range(2):
        worked(FEB + 24 * HOUR)
    (made,) = invoices(company)
    assert (made.state, made.number, made.net_nano) == ("final", 1, 6 * CENT)
    assert made.written_at is not None
    assert made.due_at == FEB + 24 * HOUR + timedelta(days=14)
    for _ in range(2):
        worked(made.due_at)
    with inside(company):
        told = list(Notice.objects.filter(topic__startswith="invoice.").order_by("id").values_list("topic", flat=True))
    assert told == ["invoice.issued", "invoice.overdue"]


def test_what_is_overdue_is_told_without_standing_in_a_payments_way(
    company: Company, caplog: pytest.LogCaptureFixture
) -> None:
    made = an_invoice(company)
    with inside(company):
        subscriptions.subscribe(plan=plan("payg"))
    assert made.due_at is not None
    with ThreadPoolExecutor(1) as pool:
        with inside(company):
            lock_books()
            telling = pool.submit(_tell, made.due_at)
            _wait_for_a_lock()
            # The payment that has the books locks the invoice next.
            entries.pay_invoice(made, amount_nano=None, reference="just in time")
        telling.result()
    assert again(company, made).state == "paid"
    with inside(company):
        assert not Notice.objects.filter(topic="invoice.overdue").exists()
    assert "invoice_upkeep_failed" not in caplog.text


def _tell(now: datetime) -> int:
    try:
        return tell_overdue(now=now)
    finally:
        connections.close_all()


def _wait_for_a_lock() -> None:
    """Until a connection waits for one of another."""
    ends = time.monotonic() + 10
    with administrator() as admin:
        admin.autocommit = True
        while not admin.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'advisory'").fetchone():
            assert time.monotonic() < ends, "nobody waits"
            time.sleep(0.01)


def test_who_used_nothing_is_asked_for_nothing(company: Company) -> None:
    opened(company)
    worked(APR)
    assert invoices(company) == []


def test_operators_issue_enter_payments_and_correct(company: Company, tmp_path: Path) -> None:
    slug = company.tenant.slug
    first = an_invoice(company)
    (terms,) = command("terms", slug, "--tax-percent", "7.75", "--due-days", "30")
    assert (terms["tax_bps"], terms["due_days"]) == (775, 30)
    (again,) = command("void", slug, first.label, "--reason", "The wrong tax", "--again")
    assert (again["invoice"], again["total_nano"], again["state"]) == (f"{slug.upper()}-000002", 108 * CENT, "final")
    (note,) = command("credit", slug, again["invoice"], "--amount", "0.40", "--reason", "As agreed")
    assert (note["kind"], note["net_nano"]) == ("credit_note", 40 * CENT)
    for _ in range(2):
        (paid,) = command("paid", slug, again["invoice"], "--reference", "wire 1", "--amount", "0.65")
    assert (paid["state"], paid["due_nano"]) == ("paid", 0)
    other = an_invoice(company, until=MAR)
    for _ in range(2):
        (paid,) = command("paid", slug, other.label, "--reference", "wire 2")
    assert (paid["state"], books(company)["cash"]) == ("paid", (65 + 108) * CENT)
    with pytest.raises(CommandError, match="something else"):
        command("paid", slug, again["invoice"], "--reference", "wire 2")
    spend(company.alice, 3 * CENT, MAR)
    others_ended()
    (issued,) = command("issue", slug, "--until-now")
    assert issued["issued"] == [f"{slug.upper()}-000004"]
    assert command("list", slug)[0]["invoice"] == f"{slug.upper()}-000004"
    out = tmp_path / "invoice.pdf"
    (written,) = command("pdf", slug, again["invoice"], "--out", str(out))
    assert written["pages"] == 1
    assert out.read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    "arguments",
    [
        ("show",),
        ("show", "NONE-000001"),
        ("terms", "--tax-percent", "101"),
        ("terms", "--tax-percent", "1.234"),
        ("terms", "--tax-percent", "1", "--due-days", "366"),
        ("terms",),
    ],
)
def test_what_cant_be_is_refused(company: Company, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        command(arguments[0], company.tenant.slug, *arguments[1:])
    with inside(company):
        assert not Invoice.objects.exists()
