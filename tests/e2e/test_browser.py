"""Answers in a real browser: while they are written, when they end early, fail, or the connection goes."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.script import Script
from tests.support.browser import Visitor, _no_pools_left, browser
from tests.support.stack import Login, Stack, Tenant, eventually
from tests.support.wire import Wire, wire_to

__all__ = ["_no_pools_left", "browser"]
pytestmark = [pytest.mark.browser, pytest.mark.no_database]

# Long enough to be met in the middle: 120 pieces, 25 ms apart.
LONG = " ".join(f"word{number} é🎈" for number in range(120))
LONG_SCRIPT = Script(text=LONG, chunk=len(LONG) // 120, delay_ms=25)


@pytest.fixture(autouse=True)
def _clean(upstream: OpenAIUpstream) -> None:
    upstream.reset()


@pytest.fixture(scope="module")
def person(stack: Stack, tenant: Tenant) -> Login:
    return stack.add_member(tenant, "alice")


@pytest.fixture(scope="module")
def signed_in(stack: Stack, person: Login, browser: Browser) -> Iterator[Visitor]:
    visitor = Visitor(browser, stack.url)
    visitor.sign_in(person.email, person.password)
    yield visitor
    visitor.close()


@pytest.fixture
def alice(signed_in: Visitor) -> Iterator[Visitor]:
    """A member at the app's first page; nothing may go wrong on it."""
    signed_in.open("/")
    yield signed_in
    assert signed_in.watched.problems == []


def wait_for_text(visitor: Visitor, answer: Locator, characters: int = 60) -> str:
    """What there is once the answer has grown to so many characters."""
    handle = answer.locator(".prose").first
    expect(handle).to_be_visible()
    eventually(lambda: len(answer.inner_text()) >= characters)
    return visitor.text_of(answer)


def mend(wire: Wire, visitor: Visitor) -> None:
    """Let connections through again, and have the browser notice at once, as it does when a network comes back."""
    wire.mend()
    visitor.page.evaluate("dispatchEvent(new Event('online'))")


def test_stop_keeps_what_was_written(alice: Visitor, upstream: OpenAIUpstream) -> None:
    upstream.script(LONG_SCRIPT)
    alice.make_room("Stop")
    alice.ask("Tell me at length")
    seen = wait_for_text(alice, alice.answers("streaming"))
    alice.page.get_by_test_id("stop").click()

    stopped = alice.answers("stopped")
    expect(stopped).to_contain_text("Stopped here.")
    kept = alice.text_of(stopped)
    assert kept.startswith(seen)
    assert LONG.startswith(kept)
    assert kept != LONG
    eventually(lambda: upstream.records[-1].outcome == "disconnected")
    expect(alice.page.get_by_test_id("stop")).to_have_count(0)


def test_a_refresh_in_mid_answer_loses_nothing(alice: Visitor, upstream: OpenAIUpstream) -> None:
    upstream.script(LONG_SCRIPT)
    alice.make_room("Refresh")
    alice.ask("Tell me at length")
    wait_for_text(alice, alice.answers("streaming"))
    alice.page.reload()
    wait_for_text(alice, alice.answers("streaming"))

    expect(alice.answers("complete")).to_have_count(1)
    assert alice.text_of(alice.answers("complete")) == upstream.records[-1].text.strip() == LONG
    assert len(upstream.records) == 1


def test_a_cut_connection_is_told_and_loses_nothing(
    stack: Stack, person: Login, browser: Browser, upstream: OpenAIUpstream
) -> None:
    upstream.script(replace(LONG_SCRIPT, delay_ms=40))
    with wire_to(stack.port) as wire:
        alice = Visitor(browser, wire.url)
        alice.sign_in(person.email, person.password)
        alice.make_room("Cut")
        alice.ask("Tell me at length")
        before = wait_for_text(alice, alice.answers("streaming"))
        alice.watched.network_may_fail = True
        wire.cut()
        banner = alice.page.get_by_test_id("connection-banner")
        expect(banner).to_contain_text("offline")
        mend(wire, alice)
        expect(banner).to_contain_text("Back online")

        expect(alice.answers("complete")).to_have_count(1)
        text = alice.text_of(alice.answers("complete"))
        assert text.startswith(before)
        assert text == upstream.records[-1].text.strip() == LONG
        alice.close()


def test_what_is_sent_while_offline_arrives_once(
    stack: Stack, person: Login, browser: Browser, upstream: OpenAIUpstream
) -> None:
    with wire_to(stack.port) as wire:
        alice = Visitor(browser, wire.url)
        alice.sign_in(person.email, person.password)
        alice.make_room("Later")
        alice.watched.network_may_fail = True
        wire.cut()
        banner = alice.page.get_by_test_id("connection-banner")
        expect(banner).to_contain_text("offline")
        alice.ask("Are you there?")
        expect(alice.page.get_by_text("Waiting for a connection…")).to_be_visible()
        mend(wire, alice)
        expect(alice.answers("complete")).to_contain_text("You said: Are you there?")
        expect(alice.page.get_by_text("Are you there?", exact=True)).to_have_count(1)
        assert len(upstream.records) == 1
        alice.close()


@pytest.mark.parametrize("fault", ["401", "quota"])
def test_a_failing_provider_is_told_and_can_be_asked_again(
    alice: Visitor, upstream: OpenAIUpstream, fault: str
) -> None:
    upstream.script(fault=fault)
    alice.make_room(f"Fault {fault}")
    alice.ask("Anybody there?")
    failed = alice.answers("failed")
    expect(failed).to_contain_text("upstream_failed")
    assert "sk-secret" not in failed.inner_text()

    # It is still told after a reload.
    alice.page.reload()
    expect(failed).to_contain_text("upstream_failed")
    upstream.reset()
    alice.page.get_by_role("button", name="Try again").click()
    expect(alice.answers("complete")).to_contain_text("You said: Anybody there?")


def test_a_provider_that_cuts_leaves_what_it_said(alice: Visitor, upstream: OpenAIUpstream) -> None:
    upstream.script(text=LONG, fault="cut", fault_after=9, delay_ms=5)
    alice.make_room("Cut off")
    alice.ask("Tell me at length")
    ended = alice.page.locator("[data-author=model][data-status=failed], [data-author=model][data-status=interrupted]")
    expect(ended.get_by_role("button", name="Try again")).to_be_visible()
    assert LONG.startswith(alice.text_of(ended))
    expect(alice.page.get_by_test_id("composer")).to_be_editable()


def test_two_people_see_the_same_stream(
    stack: Stack, tenant: Tenant, alice: Visitor, browser: Browser, upstream: OpenAIUpstream
) -> None:
    ben_login = stack.add_member(tenant, "ben")
    ben = Visitor(browser, stack.url)
    ben.sign_in(ben_login.email, ben_login.password)
    alice.page.get_by_role("button", name="New room").locator("visible=true").first.click()
    dialog = alice.page.get_by_role("dialog", name="New room")
    dialog.get_by_label("Name").fill("Together")
    dialog.get_by_text("Shared", exact=True).click()
    dialog.get_by_role("button", name="Create room").click()
    alice.page.get_by_role("button", name="Members: 1").click()
    alice.page.get_by_role("button", name="Add ben").click()
    alice.page.keyboard.press("Escape")
    expect(alice.page.get_by_role("button", name="Members: 2")).to_be_visible()

    ben.open(alice.page.url.removeprefix(stack.url))
    expect(ben.page.get_by_role("heading", name="Together")).to_be_visible()
    upstream.script(LONG_SCRIPT)
    alice.ask("Tell us at length")
    wait_for_text(ben, ben.answers("streaming"))
    wait_for_text(alice, alice.answers("streaming"))
    for somebody in (alice, ben):
        expect(somebody.answers("complete")).to_have_count(1)
        assert somebody.text_of(somebody.answers("complete")) == LONG
        assert len(somebody.watched.deltas) >= 3
    ben.close()


def test_the_cost_of_an_answer_is_shown(alice: Visitor, upstream: OpenAIUpstream) -> None:
    upstream.script(text="Priced.", usage="always", prompt_tokens=1000, completion_tokens=500)
    alice.make_room("Cost")
    alice.ask(f"What does {MODEL} cost?")
    answer = alice.answers("complete")
    expect(answer).to_contain_text("1,500 tokens")
    # 1,000 tokens at $1 and 500 at $2 a million.
    expect(answer).to_contain_text("0.002")
