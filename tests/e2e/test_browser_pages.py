"""Every page of the app: no accessibility violations in light and dark, by keyboard alone, on a phone; and signing in."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.browser import DESK, PHONE, Visitor, _no_pools_left, browser
from tests.support.stack import Stack, Tenant

__all__ = ["_no_pools_left", "browser"]
pytestmark = [pytest.mark.browser, pytest.mark.no_database]

RICH = """## Two ways

1. The **short** one, with `code` and a [link](https://example.com/)
2. The long one

```python
def answer() -> int:
    return 42  # as ever
```

| way | cost |
| --- | ---: |
| short | 1 |

> Quoted, <script>alert(1)</script> and ![a picture](https://example.com/x.png) included.
"""


@pytest.fixture
def visit(stack: Stack, browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Opens browsers; nothing may have gone wrong in any."""
    opened: list[Visitor] = []

    def visit(**options: Any) -> Visitor:
        opened.append(Visitor(browser, stack.url, **options))
        return opened[-1]

    yield visit
    for visitor in opened:
        visitor.close()


def test_a_wrong_password_is_told(visit: Callable[..., Visitor], tenant: Tenant) -> None:
    visitor = visit()
    visitor.open("/")
    visitor.watched.network_may_fail = True
    visitor.fill_sign_in(tenant.owner, "not the password")
    alert = visitor.page.get_by_role("alert")
    expect(alert).to_contain_text("don’t match")
    visitor.page.get_by_label("Password", exact=True).fill(tenant.password)
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.get_by_text("Start your first room")).to_be_visible()


def test_by_keyboard_alone(visit: Callable[..., Visitor], tenant: Tenant, upstream: OpenAIUpstream) -> None:
    upstream.reset()
    visitor = visit()
    visitor.open("/")
    keys = visitor.page.keyboard
    expect(visitor.page.get_by_label("Email")).to_be_focused()
    keys.type(tenant.owner)
    keys.press("Tab")
    keys.type(tenant.password)
    keys.press("Enter")
    expect(
        visitor.page.get_by_text("Start your first room").or_(visitor.page.get_by_text("Pick up where"))
    ).to_be_visible()

    tab_to(visitor, "New room")
    keys.press("Enter")
    expect(visitor.page.get_by_label("Name")).to_be_focused()
    keys.type("By keyboard")
    keys.press("Enter")
    expect(visitor.page.get_by_test_id("composer")).to_be_focused()
    keys.type("one")
    keys.press("Shift+Enter")
    keys.type("two")
    keys.press("Enter")
    expect(visitor.answers("complete")).to_contain_text("You said: one")

    tab_to(visitor, "Room settings")
    keys.press("Enter")
    expect(visitor.page.get_by_role("dialog", name="Room settings")).to_be_visible()
    keys.press("Escape")
    expect(visitor.page.get_by_role("button", name="Room settings")).to_be_focused()


def tab_to(visitor: Visitor, name: str) -> None:
    """Press Tab until the control of this name has the focus."""
    for _ in range(40):
        visitor.page.keyboard.press("Tab")
        focused = visitor.page.evaluate(
            "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).trim()"
        )
        if focused == name:
            return
    raise AssertionError(f"Tab never reached {name!r}")


@pytest.mark.parametrize(("scheme", "size"), [("light", DESK), ("dark", PHONE)])
def test_no_page_has_accessibility_violations(
    visit: Callable[..., Visitor],
    tenant: Tenant,
    upstream: OpenAIUpstream,
    scheme: str,
    size: tuple[int, int],
) -> None:
    upstream.reset()
    upstream.script(text=RICH, chunk=40, times=1)
    visitor = visit(size=size, color_scheme=scheme)
    page = visitor.page
    found: dict[str, list[str]] = {}

    def look(name: str) -> None:
        found[name] = visitor.axe()
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found[name].append("wider than the window")

    visitor.open("/")
    expect(page.get_by_test_id("login-form")).to_be_visible()
    look("sign in")
    visitor.sign_in(tenant.owner, tenant.password)
    look("home")
    visitor.make_room(f"In {scheme}")
    look("empty room")
    visitor.ask("Two ways?")
    expect(visitor.answers("complete").locator(".hljs-keyword").first).to_be_visible()
    upstream.script(fault="quota")
    visitor.ask("And now?")
    expect(visitor.answers("failed")).to_be_visible()
    look("room")
    page.get_by_role("button", name="Room settings").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    look("room settings")
    for path, heading in (("members", "Members"), ("api-keys", "API keys"), ("usage", "Usage")):
        visitor.open(f"/console/{path}")
        expect(page.get_by_role("heading", name=heading, level=1)).to_be_visible()
        expect(page.get_by_role("table")).to_be_visible()
        look(path)
    visitor.open("/nowhere")
    expect(page.get_by_text("Nothing here")).to_be_visible()
    look("not found")
    assert {name: problems for name, problems in found.items() if problems} == {}


def test_nothing_that_a_model_writes_can_run(
    visit: Callable[..., Visitor], tenant: Tenant, upstream: OpenAIUpstream
) -> None:
    upstream.reset()
    upstream.script(
        text='<img src=x onerror="window.ran=1"> <script>window.ran=1</script> [x](javascript:window.ran=1) done'
    )
    visitor = visit()
    visitor.sign_in(tenant.owner, tenant.password)
    visitor.make_room("Hostile")
    visitor.ask("Go")
    expect(visitor.answers("complete")).to_contain_text("done")
    answer = visitor.answers("complete")
    assert answer.locator("img, script, [onerror], a[href^='javascript']").count() == 0
    assert visitor.page.evaluate("window.ran") is None
    # The page itself and the one for a room come by different ways.
    for path in ("/", visitor.page.url):
        headers = visitor.page.request.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert "no-store" in headers["cache-control"]
