"""The console's pages of billing: budgets, plan and credit, reports, prices, notices; by whom they may be seen and changed."""

import secrets
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from kernel.ids import uuid7
from tests.e2e.conftest import MODEL
from tests.support.browser import DESK, PHONE, Visitor, _no_pools_left, browser
from tests.support.servers import database_url
from tests.support.stack import Stack, Tenant

__all__ = ["_no_pools_left", "browser"]
pytestmark = [pytest.mark.browser, pytest.mark.no_database]

PAGES = {
    "budgets": "Budgets",
    "billing": "Plan & credit",
    "invoices": "Invoices",
    "reports": "Reports",
    "prices": "Prices",
    "notices": "Notices",
    "cache": "Cache",
}


@pytest.fixture(scope="module")
def billed(stack: Stack) -> Tenant:
    """A tenant with a plan, credit, a payment, a budget that was passed and what it used."""
    tenant = stack.create_tenant()
    slug = f"team-{secrets.token_hex(4)}"
    stack.manage(
        "plan", "create", slug, "--kind", "seat", "--name", "Team", "--price-usd", "20", "--included-usd", "10"
    )
    stack.manage("plan", "give", tenant.slug, slug, "--seats", "2")
    stack.manage("credit", "top-up", tenant.slug, "25", "--reference", "wire 7")
    ask(stack, tenant)
    with stack.client(stack.sign_in(tenant.owner, tenant.password)["access"]) as rest:
        body = {"scope": {"kind": "tenant"}, "name": "Tiny", "limit": 1, "mode": "shadow", "thresholds": [50]}
        assert rest.post("/api/v1/billing/budgets", json=body).status_code == 201
    ask(stack, tenant)
    return tenant


@pytest.fixture(scope="module")
def invoiced(billed: Tenant) -> uuid.UUID:
    """An invoice of its last month: final, of one line, and not paid."""
    invoice, line = uuid7(), uuid7()
    with psycopg.connect(database_url("test_e2e")) as connection:
        connection.execute(
            "INSERT INTO billing_invoice (id, tenant_id, kind, state, label, since, until, since_tx, time_zone, replaced, reason,"
            " seller, buyer, currency, tax_name, tax_bps, tax_note, credit_mark_nano, credited_nano, net_nano, tax_nano,"
            " total_nano, carry_nano, lines, settled_nano)"
            " VALUES (%s, %s, 'invoice', 'draft', '', '2026-01-01Z', '2026-02-01Z', 0, 'UTC', false, '', '{}', '{}', 'USD',"
            " 'VAT', 1900, '', 0, 0, 0, 0, 0, 0, 1, 0)",
            (invoice, billed.id),
        )
        connection.execute(
            "INSERT INTO billing_invoiceline (id, tenant_id, invoice_id, position, kind, description, amount_nano, alias, model,"
            " provider, connection, prices, attempts, input, cache_read, cache_write, output, reasoning)"
            " VALUES (%s, %s, %s, 1, 'plan', 'Team, 2 seats', 40000000000, '', '', '', '', '{}', 0, 0, 0, 0, 0, 0)",
            (line, billed.id, invoice),
        )
        party = '{"name": "%s", "address": "", "country": "", "tax_id": "", "email": "", "reference": ""}'
        connection.execute(
            "UPDATE billing_invoice SET state = 'final', number = 1, label = 'T-000001', until_tx = 1, final_at = now(),"
            " due_at = now() + interval '14 days', net_nano = 40000000000, tax_nano = 7600000000, total_nano = 47600000000,"
            " seller = %s, buyer = %s WHERE id = %s",
            (party % "Parley", party % "Acme", invoice),
        )
    return invoice


def ask(stack: Stack, tenant: Tenant) -> None:
    with stack.client(tenant.api_key) as program:
        body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": secrets.token_hex(8)}]}
        assert program.post("/v1/chat/completions", json=body).status_code == 200


@pytest.fixture(scope="module")
def owner(stack: Stack, billed: Tenant, browser: Browser) -> Iterator[Visitor]:
    visitor = Visitor(browser, stack.url)
    visitor.sign_in(billed.owner, billed.password)
    yield visitor
    visitor.close()


@pytest.fixture
def page(owner: Visitor) -> Iterator[Page]:
    """The owner's; nothing may go wrong on it."""
    yield owner.page
    assert owner.watched.problems == []


def at(page: Page, name: str) -> None:
    """Go to a page of the console and wait for what it shows."""
    page.goto(f"/console/{name}")
    expect(page.get_by_role("heading", name=PAGES[name], level=1)).to_be_visible()
    expect(page.locator("main .skeleton")).to_have_count(0)


def test_a_budget_is_made_corrected_changed_and_deleted(page: Page) -> None:
    at(page, "budgets")
    page.get_by_role("button", name="New budget").click()
    dialog = page.get_by_role("dialog", name="New budget")
    dialog.get_by_label("Name").fill("Experiments")
    dialog.get_by_label("For", exact=True).select_option("A model")
    dialog.get_by_label("Limit in US dollars").fill("a lot")
    dialog.get_by_label("Tell at, in percent").fill("0")
    dialog.get_by_role("button", name="Create budget").click()
    expect(dialog.get_by_text("Enter an amount such as 250 or 0.50.")).to_be_visible()
    expect(dialog.get_by_text("Choose what it is for.")).to_be_visible()
    expect(dialog.get_by_label("Tell at, in percent")).to_have_attribute("aria-invalid", "true")
    dialog.get_by_label("Which").select_option(MODEL)
    dialog.get_by_label("Limit in US dollars").fill("1,250.50")
    dialog.get_by_label("Tell at, in percent").fill("90")
    dialog.get_by_text("Soft").click()
    dialog.get_by_role("button", name="Create budget").click()
    made = page.get_by_role("article", name="Experiments")
    expect(made).to_contain_text("$0 of $1,250.50")
    expect(made).to_contain_text("Soft")
    page.get_by_role("button", name="Change Experiments").click()
    dialog = page.get_by_role("dialog", name="Change budget")
    expect(dialog.get_by_label("Limit in US dollars")).to_have_value("1250.50")
    dialog.get_by_label("Limit in US dollars").fill("5")
    dialog.get_by_role("button", name="Save").click()
    expect(made).to_contain_text("$0 of $5")
    page.get_by_role("button", name="Delete Experiments").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Delete budget").click()
    expect(made).to_have_count(0)


def test_what_was_used_shows_by_itself(page: Page, stack: Stack, billed: Tenant) -> None:
    at(page, "budgets")
    tiny = page.get_by_role("article", name="Tiny")
    expect(tiny).to_contain_text("Would have refused")
    was = tiny.get_by_text("Would have refused").inner_text()
    balance = page.get_by_test_id("balance").first
    expect(balance).to_be_visible()
    before = balance.get_attribute("title") or ""
    ask(stack, billed)
    expect(balance).not_to_have_attribute("title", before)
    expect(tiny.get_by_text("Would have refused")).not_to_have_text(was)


def test_a_plan_is_changed_knowing_what_it_comes_to(page: Page) -> None:
    at(page, "billing")
    expect(page.get_by_role("heading", name="Team")).to_be_visible()
    expect(page.get_by_test_id("balances")).to_contain_text("Used this month")
    expect(page.get_by_role("region", name="Payments")).to_contain_text("wire 7")
    page.get_by_role("button", name="Change plan").click()
    dialog = page.get_by_role("dialog", name="Change plan")
    dialog.get_by_label("Seats").fill("3")
    preview = dialog.get_by_test_id("preview")
    expect(preview).to_contain_text("Begins at once.")
    expect(preview).to_contain_text("Charged now")
    dialog.get_by_role("button", name="Choose this plan").click()
    expect(page.get_by_text("3 seats")).to_be_visible()
    page.get_by_role("button", name="Change plan").click()
    dialog.get_by_label("Seats").fill("1")
    expect(dialog.get_by_test_id("preview")).to_contain_text("with the next period")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Cancel plan").click()
    page.get_by_role("alertdialog").get_by_role("button", name="Cancel plan").click()
    page.get_by_role("button", name="Don’t cancel").click()
    expect(page.get_by_text("This period is from")).to_be_visible()


def test_a_report_is_told_apart_and_kept_as_a_file(page: Page) -> None:
    at(page, "reports")
    expect(page.get_by_role("region", name="By model")).to_contain_text(MODEL)
    page.get_by_label("Told apart by").select_option("Member")
    expect(page.get_by_role("region", name="By member")).to_contain_text("100%")
    page.get_by_label("Told apart by").select_option("Nothing")
    expect(page.get_by_role("region", name="By day").get_by_role("row")).to_have_count(2)
    page.get_by_label("Period").select_option("From … to …")
    page.get_by_label("First day").fill("2020-01-01")
    expect(page.get_by_role("alert")).to_contain_text("at most")
    page.get_by_label("Period").select_option("This month")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("start")
    assert len(lines) == 2


def test_prices_are_found_and_tried(page: Page) -> None:
    at(page, "prices")
    page.get_by_label("Search models and providers").fill("no such model")
    expect(page.get_by_role("heading", name="No such model")).to_be_visible()
    page.get_by_label("Search models and providers").fill(MODEL)
    page.get_by_role("button", name=MODEL, exact=True).click()
    expect(page.get_by_text("Reasoning")).to_be_visible()
    page.get_by_label("Model", exact=True).select_option(MODEL)
    page.get_by_label("Input tokens").fill("1,000,000")
    page.get_by_label("Output tokens").fill("1000")
    page.get_by_role("button", name="What would it cost?").click()
    expect(page.get_by_test_id("simulation")).to_contain_text("$1.002")


def test_an_invoice_is_read_and_kept_as_files(owner: Visitor, page: Page, invoiced: uuid.UUID) -> None:
    at(page, "invoices")
    row = page.get_by_role("region", name="Invoices").get_by_role("row").filter(has_text="T-000001")
    expect(row).to_contain_text("1 Jan 2026 – 31 Jan 2026")
    expect(row).to_contain_text("Due")
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", name="Invoice T-000001")).to_be_visible()
    expect(page.get_by_test_id("sums")).to_contain_text("VAT 19 %")
    expect(page.get_by_test_id("sums")).to_contain_text("$47.60")
    expect(page.get_by_role("region", name="Lines")).to_contain_text("Team, 2 seats")
    for form, begins in (("PDF", b"%PDF"), ("CSV", b"invoice,"), ("JSON", b'{"invoice":')):
        with page.expect_download() as download:
            page.get_by_role("button", name=form).click()
        assert download.value.suggested_filename == f"T-000001.{form.lower()}"
        assert download.value.path().read_bytes().startswith(begins)
    page.get_by_role("link", name="All invoices").click()
    page.get_by_role("button", name="Change").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Acme Ltd")
    dialog.get_by_label("Country").fill("X1")
    dialog.get_by_label("Send to").fill("nobody")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_text("Two letters, such as DE or US.")).to_be_visible()
    dialog.get_by_label("Country").fill("gb")
    # What the server refuses, the browser writes to its console.
    owner.watched.network_may_fail = True
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_label("Send to")).to_have_attribute("aria-invalid", "true")
    owner.watched.network_may_fail = False
    dialog.get_by_label("Send to").fill("bills@acme.example")
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_test_id("profile")).to_contain_text("Acme Ltd")


def test_the_cache_is_set_up_and_told_to_forget(page: Page, stack: Stack, billed: Tenant) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Ask this twice"}], "temperature": 0}
    with stack.client(billed.api_key) as program:
        for _ in range(2):
            assert program.post("/v1/chat/completions", json=body).status_code == 200
    at(page, "cache")
    figures = page.get_by_test_id("cache-figures")
    expect(figures).to_contain_text("Exact hits")
    expect(figures).to_contain_text("off")
    settings = page.get_by_role("form", name="Cache settings")
    settings.get_by_label("Also to questions in other words").check()
    settings.get_by_label("Wrong at most, in percent").fill("50")
    settings.get_by_role("button", name="Save").click()
    expect(settings.get_by_text("Enter a percentage from 0.1 to 10.")).to_be_visible()
    settings.get_by_label("Wrong at most, in percent").fill("2")
    settings.get_by_role("button", name="Save").click()
    expect(figures).to_contain_text("at 2% wrong at most")
    forget = page.get_by_role("form", name="Forget answers")
    forget.get_by_role("button", name="Forget").click()
    expect(forget.get_by_text("Enter how the questions begin.")).to_be_visible()
    forget.get_by_label("What").select_option("Everything")
    forget.get_by_role("button", name="Forget").click()
    expect(page.get_by_text("was forgotten").or_(page.get_by_text("were forgotten"))).to_be_visible()
    page.reload()
    expect(
        page.get_by_role("form", name="Cache settings").get_by_label("Also to questions in other words")
    ).to_be_checked()


def test_notices_are_counted_and_read(page: Page) -> None:
    at(page, "notices")
    notice = page.get_by_test_id("notice").filter(has_text="Tiny")
    bell = page.get_by_test_id("bell").first
    there = page.get_by_test_id("notice")
    for _ in range(60):
        # The worker tells each few seconds, of the invoice too; the page is asked again until it shows what the bell counts.
        if notice.count() and bell.get_attribute("aria-label") == f"Notices, {there.count()} unread":
            break
        page.wait_for_timeout(500)
        at(page, "notices")
    else:
        pytest.fail(f"{bell.get_attribute('aria-label')}, and {there.count()} are shown")
    page.get_by_role("button", name="Mark all as read").click()
    expect(bell).to_have_attribute("aria-label", "Notices")
    notice.get_by_role("link").click()
    expect(page).to_have_url("/console/budgets")


def test_no_page_has_accessibility_violations(owner: Visitor, page: Page, invoiced: uuid.UUID) -> None:
    found: dict[str, list[str]] = {}

    def look(name: str) -> None:
        for size, scheme in ((DESK, "light"), (PHONE, "dark")):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            found[f"{name}, {scheme}"] = owner.axe()
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found[f"{name}, {scheme}"].append("wider than the window")

    for name in PAGES:
        at(page, name)
        look(name)
    page.goto(f"/console/invoices/{invoiced}")
    expect(page.get_by_role("region", name="Lines")).to_be_visible()
    look("an invoice")
    at(page, "budgets")
    page.get_by_role("button", name="New budget").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    look("new budget")
    page.set_viewport_size({"width": DESK[0], "height": DESK[1]})
    assert {name: problems for name, problems in found.items() if problems} == {}


def test_everybody_sees_what_their_role_is_for_and_no_more(stack: Stack, billed: Tenant, browser: Browser) -> None:
    shown: dict[str, Callable[[Page], None]] = {"viewer": as_viewer, "billing": as_bookkeeper}
    for role, look in shown.items():
        login = stack.add_member(billed, role, role=role)
        visitor = Visitor(browser, stack.url)
        visitor.sign_in(login.email, login.password)
        look(visitor.page)
        visitor.close()


def as_viewer(page: Page) -> None:
    at(page, "budgets")
    expect(page.get_by_role("article", name="Tiny")).to_be_visible()
    expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)
    expect(page.get_by_test_id("balance")).to_have_count(0)
    navigation = page.get_by_role("navigation", name="Console")
    expect(navigation.get_by_role("link", name="Plan & credit")).to_have_count(0)
    page.goto("/console/billing")
    expect(page.get_by_text("Not yours to see")).to_be_visible()


def as_bookkeeper(page: Page) -> None:
    # There are no rooms for this role: the console is where it begins.
    expect(page).to_have_url("/console")
    expect(page.get_by_role("navigation", name="Places")).to_have_count(0)
    at(page, "billing")
    expect(page.get_by_role("button", name="Change plan")).to_be_visible()
    expect(page.get_by_test_id("balance").first).to_be_visible()
    expect(page.get_by_test_id("connection-banner")).to_have_count(0)
