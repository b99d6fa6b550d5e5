"""What the app shows while things change, or fail, around whoever looks at it."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.browser import PHONE, Visitor, _no_pools_left, browser
from tests.support.stack import Login, Stack, Tenant, eventually

__all__ = ["_no_pools_left", "browser"]
pytestmark = [pytest.mark.browser, pytest.mark.no_database]


@pytest.fixture(autouse=True)
def _clean(upstream: OpenAIUpstream) -> None:
    upstream.reset()


@pytest.fixture(scope="module")
def signed_in(stack: Stack, tenant: Tenant, browser: Browser) -> Iterator[Visitor]:
    visitor = Visitor(browser, stack.url)
    visitor.sign_in(tenant.owner, tenant.password)
    yield visitor
    visitor.close()


@pytest.fixture
def owner(signed_in: Visitor) -> Iterator[Visitor]:
    """The tenant's owner, at the app's first page; nothing may go wrong on it but what the test breaks."""
    signed_in.open("/")
    yield signed_in
    signed_in.page.unroute_all(behavior="wait")
    signed_in.watched.network_may_fail = False
    assert signed_in.watched.problems == []


@pytest.fixture(scope="module")
def elsewhere(stack: Stack, tenant: Tenant) -> Iterator[httpx.Client]:
    """The owner's other device."""
    with stack.client(stack.sign_in(tenant.owner, tenant.password)["access"]) as rest:
        yield rest


@pytest.fixture(scope="module")
def ben(stack: Stack, tenant: Tenant) -> Login:
    return stack.add_member(tenant, "ben")


def say(rest: httpx.Client, room: str, text: str) -> str:
    """Write to a room without asking a model; the message's id."""
    answer = rest.post(f"/api/v1/rooms/{room}/messages", json={"text": text, "generate": False})
    assert answer.status_code in (200, 201, 202), answer.text
    body: dict[str, Any] = answer.json()
    return str(body.get("message", body)["id"])


def shared_room(rest: httpx.Client, title: str, *members: str) -> str:
    """A room with these members in it."""
    room = str(rest.post("/api/v1/rooms", json={"title": title, "kind": "shared"}).json()["id"])
    for member in members:
        assert rest.post(f"/api/v1/rooms/{room}/members", json={"member": member}).status_code == 201
    return room


def unreachable(page: Page, pattern: str) -> None:
    """From now on there is no answer at these addresses."""
    page.route(pattern, lambda route: route.abort())


def test_what_is_typed_in_a_room_s_settings_outlives_a_message(owner: Visitor, elsewhere: httpx.Client) -> None:
    room = shared_room(elsewhere, "Settings")
    owner.open(f"/rooms/{room}")
    owner.page.get_by_role("button", name="Room settings").click()
    dialog = owner.page.get_by_role("dialog", name="Room settings")
    dialog.get_by_label("Instructions").fill("Answer in French.")
    say(elsewhere, room, "Meanwhile")
    renamed = elsewhere.patch(f"/api/v1/rooms/{room}", json={"title": "Renamed meanwhile"})
    assert renamed.status_code == 200
    expect(owner.page.get_by_text("Meanwhile", exact=True)).to_be_attached()
    expect(owner.page.locator("header h1")).to_contain_text("Renamed meanwhile")
    expect(dialog.get_by_label("Instructions")).to_have_value("Answer in French.")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    saved = elsewhere.get(f"/api/v1/rooms/{room}").json()
    # Neither's change has undone the other's.
    assert (saved["instructions"], saved["title"]) == ("Answer in French.", "Renamed meanwhile")


def test_a_message_changed_or_deleted_elsewhere_is_so_on_every_screen(owner: Visitor, elsewhere: httpx.Client) -> None:
    room = shared_room(elsewhere, "Second thoughts")
    owner.open(f"/rooms/{room}")
    first, second = (say(elsewhere, room, text) for text in ("The code is 1234", "We meet at noon"))
    expect(owner.page.get_by_text("We meet at noon")).to_be_visible()
    assert elsewhere.delete(f"/api/v1/messages/{first}").status_code in (200, 204)
    expect(owner.page.get_by_text("This message was deleted.")).to_be_visible()
    expect(owner.page.get_by_text("The code is 1234")).to_have_count(0)
    assert elsewhere.patch(f"/api/v1/messages/{second}", json={"text": "We meet at one"}).status_code == 200
    expect(owner.page.get_by_text("We meet at one")).to_be_visible()
    expect(owner.page.get_by_text("edited", exact=True)).to_be_visible()


def test_files_are_named_and_imported_answers_are_rendered(owner: Visitor, elsewhere: httpx.Client) -> None:
    room = shared_room(elsewhere, "Files")
    file = elsewhere.post("/api/v1/attachments", files={"file": ("minutes of the meeting.txt", b"We met.")})
    assert file.status_code == 201, file.text
    body = {"text": "", "attachments": [file.json()["id"]], "generate": False}
    assert elsewhere.post(f"/api/v1/rooms/{room}/messages", json=body).status_code == 201
    say(elsewhere, room, "**Bold** they said")

    def imported(route: Route) -> None:
        answer = route.fetch()
        snapshot = answer.json()
        snapshot["messages"][-1]["author"] = {"kind": "imported", "id": None, "name": "gpt-4", "role": "assistant"}
        route.fulfill(response=answer, json=snapshot)

    owner.page.route("**/snapshot*", imported)
    owner.open(f"/rooms/{room}")
    expect(owner.page.get_by_text("minutes of the meeting.txt")).to_be_visible()
    expect(owner.page.locator(".prose strong")).to_have_text("Bold")


def test_nobody_is_given_what_another_was_writing(
    stack: Stack, tenant: Tenant, ben: Login, elsewhere: httpx.Client, browser: Browser
) -> None:
    room = shared_room(elsewhere, "One computer", ben.membership)
    visitor = Visitor(browser, stack.url)
    visitor.sign_in(tenant.owner, tenant.password)
    visitor.open(f"/rooms/{room}")
    composer = visitor.page.get_by_test_id("composer")
    expect(composer).to_be_editable()
    composer.fill("Ben must not see this")
    # The session ends by itself, so nothing is tidied up.
    visitor.context.clear_cookies()
    visitor.watched.network_may_fail = True
    visitor.page.reload()
    visitor.fill_sign_in(ben.email, ben.password)
    expect(visitor.page.get_by_role("heading", name="One computer")).to_be_visible()
    expect(composer).to_be_editable()
    expect(composer).to_have_value("")
    visitor.context.clear_cookies()
    visitor.page.reload()
    visitor.fill_sign_in(tenant.owner, tenant.password)
    expect(composer).to_have_value("Ben must not see this")
    visitor.close()


def test_the_list_learns_of_new_rooms_and_of_what_is_unread(
    stack: Stack, ben: Login, elsewhere: httpx.Client, browser: Browser
) -> None:
    visitor = Visitor(browser, stack.url)
    visitor.sign_in(ben.email, ben.password)
    expect(visitor.page.get_by_role("navigation", name="Rooms")).to_be_visible()
    room = shared_room(elsewhere, "You are in", ben.membership)
    item = visitor.page.get_by_test_id("room-item").filter(has_text="You are in").first
    expect(item).to_be_visible()
    # Being let in is nothing to read.
    expect(item.get_by_text("Unread")).to_have_count(0)
    say(elsewhere, room, "Hello Ben")
    expect(item.get_by_text("Unread")).to_be_attached()
    item.click()
    expect(visitor.page.get_by_text("Hello Ben")).to_be_visible()
    visitor.page.get_by_role("link", name="Chat", exact=True).click()
    expect(item.get_by_text("Unread")).to_have_count(0)
    visitor.close()


def test_a_report_that_can_t_be_had_isn_t_the_one_before(owner: Visitor, stack: Stack, tenant: Tenant) -> None:
    with stack.client(tenant.api_key) as program:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
        assert program.post("/v1/chat/completions", json=body).status_code == 200
    page = owner.page
    page.goto("/console/reports")
    expect(page.get_by_test_id("totals")).to_be_visible()
    owner.watched.network_may_fail = True
    unreachable(page, "**/billing/reports/usage*")
    page.get_by_label("Period").select_option("Last 30 days")
    expect(page.get_by_role("heading", name="Parley can’t be reached")).to_be_visible()
    expect(page.get_by_test_id("totals")).to_have_count(0)
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_test_id("totals")).to_be_visible()


def test_what_was_forgotten_is_listed_no_more_and_nothing_typed_is_lost(owner: Visitor) -> None:
    page = owner.page
    entry = {
        "id": str(uuid.uuid4()), "model": MODEL, "created_at": "2026-11-01T00:00:00Z", "expires_at": "2026-12-01T00:00:00Z",
        "hits": 3, "cost_nano": 5, "wrong": 0, "confirmed": False,
    }  # fmt: skip
    kept = [entry]

    def listed(route: Route) -> None:
        route.fulfill(content_type="application/json", body=json.dumps({"data": kept, "next_cursor": None}))

    page.route("**/cache/semantic/entries*", listed)
    page.goto("/console/cache")
    table = page.get_by_role("region", name="Answers kept")
    expect(table.get_by_role("row")).to_have_count(2)
    settings = page.get_by_role("form", name="Cache settings")
    settings.get_by_label("Kept for, in hours").fill("99")
    kept.clear()
    forget = page.get_by_role("form", name="Forget answers")
    forget.get_by_label("What").select_option("Everything")
    forget.get_by_role("button", name="Forget").click()
    expect(table).to_have_count(0)
    expect(settings.get_by_label("Kept for, in hours")).to_have_value("99")

    owner.watched.network_may_fail = True
    unreachable(page, "**/api/v1/cache/stats")
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_text("can't be reached")).to_be_visible()
    expect(page.get_by_text("The numbers are those of now.")).to_have_count(0)


def test_colleagues_who_can_t_be_listed_aren_t_all_here(owner: Visitor, elsewhere: httpx.Client) -> None:
    owner.open(f"/rooms/{shared_room(elsewhere, 'Alone')}")
    owner.watched.network_may_fail = True
    unreachable(owner.page, "**/api/v1/members*")
    owner.page.get_by_role("button", name="Members: 1").click()
    dialog = owner.page.get_by_role("dialog", name="People in this room")
    expect(dialog.get_by_text("Your colleagues couldn’t be loaded.")).to_be_visible()
    expect(dialog.get_by_text("Everybody is already here.")).to_have_count(0)


def test_a_price_that_was_tried_goes_when_something_else_is_asked(owner: Visitor) -> None:
    page = owner.page
    page.goto("/console/prices")
    page.get_by_label("Model", exact=True).select_option(MODEL)
    page.get_by_role("button", name="What would it cost?").click()
    expect(page.get_by_test_id("simulation")).to_be_visible()
    page.get_by_label("Output tokens").fill("900000")
    expect(page.get_by_test_id("simulation")).to_have_count(0)


def test_a_revoked_key_stays_where_it_was_and_an_invoice_that_isn_t_there_isn_t_loading(
    owner: Visitor, elsewhere: httpx.Client
) -> None:
    page = owner.page
    assert elsewhere.post("/api/v1/api-keys", json={"name": "short-lived"}).status_code == 201
    page.goto("/console/api-keys")
    page.get_by_role("button", name="Revoke short-lived").click()
    owner.watched.network_may_fail = True
    unreachable(page, "**/api/v1/api-keys?*")
    page.get_by_role("alertdialog").get_by_role("button", name="Revoke key").click()
    expect(page.get_by_role("row").filter(has_text="short-lived")).to_contain_text("Revoked")
    expect(page.locator("#main")).to_be_focused()
    page.goto(f"/console/invoices/{uuid.uuid4()}")
    expect(page.get_by_role("heading", name="Nothing here")).to_be_visible()
    expect(page.get_by_text("Loading…")).to_have_count(0)


def test_a_phone_s_drawer_makes_way_for_what_it_opens(stack: Stack, tenant: Tenant, browser: Browser) -> None:
    visitor = Visitor(browser, stack.url, size=PHONE)
    visitor.sign_in(tenant.owner, tenant.password)
    page = visitor.page
    drawer = page.get_by_role("dialog", name="Navigation")
    page.get_by_role("button", name="Open navigation").click()
    drawer.get_by_role("button", name="Account:").click()
    page.get_by_role("menuitem", name="Your profile").click()
    page.get_by_role("dialog", name="Your profile").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Open navigation").click()
    drawer.get_by_role("button", name="New room").click()
    dialog = page.get_by_role("dialog", name="New room")
    dialog.get_by_label("Name").fill("From the drawer")
    dialog.get_by_role("button", name="Create room").click()
    expect(page.get_by_role("heading", name="From the drawer")).to_be_visible()
    visitor.close()


def test_rooms_of_one_name_have_a_report_and_many_rooms_scroll_by_themselves(
    owner: Visitor, elsewhere: httpx.Client, upstream: OpenAIUpstream
) -> None:
    for _ in range(2):
        room = shared_room(elsewhere, "Twins")
        upstream.script(text="Priced.", usage="always", prompt_tokens=750_000_000, completion_tokens=1, times=1)
        asked = elsewhere.post(f"/api/v1/rooms/{room}/messages", json={"text": "Hello", "model": MODEL})
        assert asked.status_code == 201, asked.text
        eventually(
            lambda room=room: (
                elsewhere.get(f"/api/v1/rooms/{room}/messages").json()["data"][0]["author"]["kind"] == "model"
            )
        )
    for number in range(30):
        shared_room(elsewhere, f"One of many, {number}")
    page = owner.page
    page.goto("/")
    expect(page.get_by_test_id("room-item").filter(has_text="One of many, 29").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    page.goto("/console/reports")
    page.get_by_label("Told apart by").select_option("Room")
    expect(page.get_by_role("region", name="By room").get_by_text("Twins")).to_have_count(2)
    # No amount is cut off, which would make it another one.
    first = "Math.min(...[...document.querySelectorAll('figure svg text')].map((text) => text.getBBox().x))"
    assert page.evaluate(first) >= 0
