"""Invoices as PDF, CSV and JSON: the same lines, whatever is in them."""

import csv
import json
import re
import zlib
from datetime import timedelta
from io import BytesIO, StringIO
from typing import Any

import pytest
from django.core.files.storage import InMemoryStorage
from django.db import transaction
from django.test import override_settings

from billing.invoices import correcting, profiles
from billing.invoices.documents import fonts
from billing.invoices.documents import pdf as pdf_module
from billing.invoices.documents.keeping import make_pdf, name_of
from billing.invoices.documents.rows import Section, usd
from billing.invoices.documents.sheet import exact, money
from billing.invoices.upkeep import write_documents
from billing.models import Invoice, InvoiceLine
from kernel.ids import uuid7
from kernel.objects import object_storage
from tenants.notifications.models import Notice
from tests.billing.invoice_support import CENT, FEB, JAN, MAR, again, an_invoice, billed, opened, spend
from tests.billing.plan_support import inside
from tests.support.cast import Company

IN_MEMORY = override_settings(
    STORAGES={
        "default": {"BACKEND": f"{InMemoryStorage.__module__}.InMemoryStorage"},
        "staticfiles": {"BACKEND": f"{InMemoryStorage.__module__}.InMemoryStorage"},
        "files": {"BACKEND": f"{InMemoryStorage.__module__}.InMemoryStorage"},
    }
)


def pages_of(pdf: bytes) -> list[str]:
    """What is written on each page in western letters, a line for each piece."""
    found = []
    for stream in re.findall(rb"/Filter \[ /FlateDecode \].*?stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        text = zlib.decompress(stream)
        if b"Tj" in text:
            pieces = re.findall(rb"\((.*?)(?<!\\)\) Tj", text)
            found.append("\n".join(_unescaped(piece) for piece in pieces))
    return found


def _unescaped(piece: bytes) -> str:
    octal = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), piece)
    return re.sub(rb"\\(.)", rb"\1", octal).decode("cp1252")


def pdf_of(company: Company, document: Invoice) -> bytes:
    with inside(company):
        known = Invoice.objects.select_related("corrects", "replaces").get(id=document.id)
    target = BytesIO()
    make_pdf(known, target)
    return target.getvalue()


def get(company: Company, document: Invoice, kind: str) -> Any:
    return company.owner.client.get(f"/api/v1/billing/invoices/{document.id}/{kind}")


def content(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


def many(company: Company, days: int) -> Invoice:
    opened(company)
    for number in range(days):
        spend(company.alice, CENT + number, JAN + timedelta(days=number % 31), alias=f"=model-{number}")
    spend(company.bob, 5, JAN, alias="模型 Модель")
    made = billed(company, FEB)
    assert made is not None
    return made


def test_pdf_csv_and_json_have_the_same_lines_and_add_up(company: Company) -> None:
    with inside(company):
        profiles.set_terms(tax_bps=1_900, tax_note="As the law says", due_days=None)
        profiles.describe(profiles.Party("A buyer & Sons", "Street 1\nTown", "DE", "DE1", "pay@buyer.example", "PO 1"))
    made = many(company, 90)
    rows = list(csv.DictReader(StringIO(content(get(company, made, "csv")).decode())))
    told = json.loads(content(get(company, made, "json")))
    with inside(company):
        amounts = list(
            InvoiceLine.objects.filter(invoice=made).order_by("position").values_list("amount_nano", flat=True)
        )
    assert [int(row["amount_nano"]) for row in rows] == [line["amount_nano"] for line in told["lines"]] == amounts
    assert sum(amounts) == made.net_nano == told["invoice"]["net_nano"]
    assert [row["amount_usd"] for row in rows] == [usd(nano) for nano in amounts]
    # No spreadsheet computes what a model is called; a negative amount is a number.
    assert {row["model"][:2] for row in rows if row["kind"] == "usage"} == {"'=", "模型"}
    assert rows[-1]["kind"] == "carried_out"
    assert rows[-1]["amount_usd"].startswith("-0.00")
    pages = pages_of(pdf_of(company, made))
    assert len(pages) == 3
    shown = "\n".join(pages).splitlines()
    for nano in amounts:
        assert exact(nano) in shown
    assert {
        made.label,
        "A buyer & Sons",
        "Tax ID DE1",
        "PO 1",
        money(made.tax_nano),
        f"$ {money(made.total_nano)}",
    } <= set(shown)
    assert [f"Page {number} of 3" in page for number, page in enumerate(pages, start=1)] == [True] * 3


def test_pages_are_counted_right_for_any_number_of_lines(company: Company) -> None:
    made = many(company, 1)
    with inside(company):
        label = Invoice.objects.get(id=made.id).label
    for extra in (20, 21, 22, 23, 24, 25, 26, 80, 81, 82, 83):
        pages = pages_of(_drawn(company, made, extra))
        assert f"Page {len(pages)} of {len(pages)}" in pages[-1], extra
        assert sum(page.count("a plan of a row") for page in pages) == extra
    assert label in pages[0]


def _drawn(company: Company, made: Invoice, rows: int) -> bytes:
    """The invoice with so many lines of plans, which are undone again."""
    target = BytesIO()
    with inside(company):
        copy = Invoice.objects.get(id=made.id)
    line = {"kind": "plan", "description": "a plan of a row", "amount_nano": 1}
    pages = pdf_module._Pages(
        pdf_module.Sheet(pdf_module.Canvas(target, pageCompression=1)),
        copy,
        [Section("plan", None, None, rows, rows)],
        "",
        400.0,
    )
    pages.write(iter([line] * rows))
    return target.getvalue()


def test_names_in_any_script_are_written_as_they_are() -> None:
    assert fonts.runs_of("Zoë & Søn — 5 €") == (("Helvetica", "Zoë & Søn — 5 €"),)
    assert fonts.runs_of("Иванов Łukasz")[0][1] == "Иванов Łukasz"
    assert fonts.runs_of("Acme 株式会社テスト") == (("Helvetica", "Acme "), (fonts.JAPANESE, "株式会社テスト"))
    assert fonts.runs_of("北京公司") == ((fonts.CHINESE, "北京公司"),)
    assert fonts.runs_of("서울") == ((fonts.KOREAN, "서울"),)
    # What no font has, or what would come out backwards, is a box; it is never spelled in other letters.
    assert {font for font, _ in fonts.runs_of("שלום ")} == {fonts.SIGNS, "Helvetica"}
    assert fonts.width_of("Иванов 北京", 10) > fonts.width_of("Иванов", 10) > 0


def test_long_names_are_wrapped_and_cut() -> None:
    assert fonts.cut("short", 100, 8) == "short"
    cut = fonts.cut("a name that is far too long for its column" * 3, 100, 8)
    assert cut.endswith("…")
    assert fonts.width_of(cut, 8) <= 100
    wrapped = fonts.wrap("one two " + "x" * 300 + " three\nfour", 100, 8, lines=4)
    assert len(wrapped) == 4
    assert all(fonts.width_of(line, 8) <= 100 for line in wrapped)
    assert fonts.wrap("", 100, 8, lines=2) == []


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0.000000000"), (1, "0.000000001"), (-1, "-0.000000001"), (1_234_567_890_123, "1234.567890123")],
)
def test_dollars_are_exact(nano: int, text: str) -> None:
    assert usd(nano) == text
    assert exact(nano).replace(",", "") == text


def test_a_worker_writes_the_pdf_once_and_sends_it(company: Company) -> None:
    with inside(company):
        profiles.describe(profiles.Party("Buyer", email="pay@buyer.example"))
    made = an_invoice(company)
    with IN_MEMORY:
        write_documents()
        kept = object_storage().open(name_of(made)).read()
        assert kept == pdf_of(company, made)
        assert b"".join(get(company, made, "pdf").streaming_content) == kept
        with inside(company):
            notice = Notice.objects.get(topic="invoice.issued")
        assert notice.addresses == ["pay@buyer.example"]
        assert notice.attachments == [
            {"filename": f"{made.label}.pdf", "media_type": "application/pdf", "object_name": name_of(made)}
        ]
        assert notice.data["total_nano"] == 100 * CENT
        write_documents()
        with inside(company):
            assert Notice.objects.filter(topic="invoice.issued").count() == 1
            correcting.void(made, reason="As agreed", again=False)
        write_documents()
        void = again(company, made)
        assert object_storage().exists(name_of(void))
        assert "VOID" in pages_of(pdf_of(company, void))[0]
        with inside(company):
            assert Notice.objects.filter(topic="invoice.void").count() == 1


def test_the_requests_of_a_line_and_the_lines_are_in_pages(company: Company) -> None:
    made = many(company, 5)
    base = f"/api/v1/billing/invoices/{made.id}"
    client = company.owner.client
    first = client.get(f"{base}/lines?limit=4").json()
    rest = client.get(f"{base}/lines?limit=4&cursor={first['next_cursor']}").json()
    assert [line["line"] for line in first["data"] + rest["data"]] == [1, 2, 3, 4, 5, 6, 7]
    assert rest["next_cursor"] is None
    line = first["data"][0]
    requests = client.get(f"{base}/lines/{line['id']}/usage").json()["data"]
    assert sum(one["cost_nano"] for one in requests) == line["amount_nano"]
    assert company.bob.client.get(base).status_code == 403
    assert client.get(f"{base}/lines?cursor=eHh4").status_code == 400


@pytest.mark.parametrize(("form", "accepted"), [("pdf", "application/pdf"), ("csv", "text/csv"), ("json", "text/html")])
def test_whoever_asks_for_a_files_own_type_gets_it(company: Company, form: str, accepted: str) -> None:
    path = f"/api/v1/billing/invoices/{an_invoice(company).id}"
    answer = company.owner.client.get(f"{path}/{form}", HTTP_ACCEPT=accepted)
    assert answer.status_code == 200
    assert content(answer)
    missing = company.owner.client.get(f"/api/v1/billing/invoices/{uuid7()}/{form}", HTTP_ACCEPT=accepted)
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


def test_a_draft_has_no_documents(company: Company) -> None:
    spend(company.alice, CENT, JAN)
    with inside(company), transaction.atomic():
        draft = Invoice.objects.create(tenant_id=company.id, since=FEB, until=MAR, time_zone="UTC")
    for kind in ("pdf", "csv", "json"):
        assert get(company, draft, kind).json()["code"] == "invoice_not_final"


def test_the_profile_is_what_was_said_last(company: Company) -> None:
    client, path = company.owner.client, "/api/v1/billing/profile"
    said = {"name": "Buyer", "address": "Street 1\nTown", "country": "DE", "email": "pay@buyer.example"}
    assert client.put(path, said, format="json").status_code == 200
    known = client.get(path).json()
    assert {name: known[name] for name in said} == said
    assert known["due_days"] == 14
    for wrong in ({"country": "Germany"}, {"email": "no"}, {"address": "x\n" * 9}, {"tax_bps": 0}):
        assert client.put(path, wrong, format="json").status_code == 400, wrong
