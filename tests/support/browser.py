"""A real Chromium for tests, and what is asked of every page in it."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, WebSocket, expect, sync_playwright

from tests.support.stack import ROOT

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A container gives a browser neither a sandbox nor much shared memory.
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync")
AXE_LOOKS = 3
_SETTLED = """(async () => {
    await new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)));
    const ending = document.getAnimations().filter((one) => one.effect.getComputedTiming().iterations !== Infinity);
    const late = new Promise((then) => setTimeout(then, 2000));
    await Promise.race([late, Promise.all(ending.map((one) => one.finished.catch(() => null)))]);
})()"""
AXE = ROOT / "platform" / "web" / "node_modules" / "axe-core" / "axe.min.js"
WAIT_MS = 15_000
DESK = (1280, 800)
PHONE = (390, 844)
# What Chromium itself writes about an answer with an error status or a connection that failed.
NETWORK = re.compile(r"Failed to load resource|WebSocket connection to .* failed|net::ERR_")

expect.set_options(timeout=WAIT_MS)


def chromium() -> str:
    """The browser's path. Without one the test is skipped, or fails where `REQUIRE_BROWSER` is set."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found:
        return found
    said = "no Chromium was found (looked for " + ", ".join(NAMES) + "): the browser tests can't run"
    if os.environ.get("REQUIRE_BROWSER"):
        pytest.fail(said)
    pytest.skip(said)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A headless Chromium."""
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for the tests of a module, which import this fixture and the next."""
    with running_browser() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_pools_left() -> None:
    """Nothing of such tests runs on the test's own event loop, which the browser's driver keeps for itself."""


@dataclass
class Watched:
    """What a page said and received.

    `network_may_fail` where the test sees to that. `deltas` are the socket's frames of answers, as they came.
    """

    problems: list[str] = field(default_factory=list)
    network_may_fail: bool = False
    deltas: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Begin to listen."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("websocket", self._socket)

    def _console(self, message: ConsoleMessage) -> None:
        if self.network_may_fail and NETWORK.search(message.text):
            return
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text}")

    def _socket(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._frame)

    def _frame(self, payload: str | bytes) -> None:
        text = payload if isinstance(payload, str) else payload.decode()
        if '"op":"delta"' in text:
            self.deltas.append(text)


class Visitor:
    """Somebody in a browser of their own: own cookies, own storage."""

    def __init__(self, browser: Browser, url: str, *, size: tuple[int, int] = DESK, **options: Any) -> None:
        width, height = size
        self.url = url
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            locale="en-GB",
            reduced_motion="reduce",
            base_url=url,
            **options,
        )
        self.context.set_default_timeout(WAIT_MS)
        self.page = self.context.new_page()
        self.watched = Watched()
        self.watched.watch(self.page)

    def open(self, path: str = "/") -> None:
        """Go to a page of the app."""
        self.page.goto(path)

    def sign_in(self, email: str, password: str) -> None:
        """Through the form; returns when the app is there."""
        self.open("/")
        self.fill_sign_in(email, password)
        expect(self.page.get_by_test_id("login-form")).to_have_count(0)
        expect(self.page.get_by_role("main")).to_be_visible()

    def fill_sign_in(self, email: str, password: str) -> None:
        """Fill the form and send it."""
        self.page.get_by_label("Email").fill(email)
        self.page.get_by_label("Password", exact=True).fill(password)
        self.page.get_by_role("button", name="Sign in").click()

    def make_room(self, title: str) -> None:
        """A private room of this name, opened."""
        self.page.get_by_role("button", name="New room").locator("visible=true").first.click()
        dialog = self.page.get_by_role("dialog", name="New room")
        dialog.get_by_label("Name").fill(title)
        dialog.get_by_role("button", name="Create room").click()
        expect(self.page.get_by_role("heading", name=title)).to_be_visible()

    def ask(self, text: str) -> None:
        """Send a message."""
        composer = self.page.get_by_test_id("composer")
        composer.fill(text)
        composer.press("Enter")

    def answers(self, status: str = "") -> Locator:
        """The models' bubbles, of a status if one is given."""
        which = f'[data-status="{status}"]' if status else ""
        return self.page.locator(f'[data-testid="message"][data-author="model"]{which}')

    def text_of(self, answer: Locator) -> str:
        """An answer's plain text."""
        return answer.locator(".prose").first.inner_text().strip()

    def axe(self) -> list[str]:
        """What axe-core has against the page as it is."""
        if not self.page.evaluate("'axe' in window"):
            # Through the debugger, not the page, so that no policy is loosened for it.
            self.page.evaluate(AXE.read_text())
        for _ in range(AXE_LOOKS):
            # Colours on their way from one scheme to the other are neither's. What is wrong stays so.
            self.page.evaluate(_SETTLED)
            found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            if not found["violations"]:
                break
        return [
            f"{violation['id']}: {node['target']} {node['failureSummary']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    def shot(self, path: Path) -> None:
        """Take a picture."""
        self.page.screenshot(path=path)

    def close(self) -> None:
        """Leave; nothing may have been wrong with any page. Raises AssertionError."""
        self.context.close()
        assert self.watched.problems == []
