"""What a new user does first: `manage.py up` with all that it brings along, the printed login, a question to the real model."""

import os
import re
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx2 as httpx
import pytest
from playwright.sync_api import Browser, expect

from config.embedded.llama import KEY_VARIABLE
from tests.support.browser import Visitor, _no_pools_left, browser
from tests.support.stack import Stack, eventually

__all__ = ["_no_pools_left", "browser"]
pytestmark = [pytest.mark.browser, pytest.mark.no_database]

QUESTION = "What is the capital of France?"
LOGIN = re.compile(r"address\s+(\S+)\s+password\s+(\S+)")
# Keeps every state that the last answer's text was in.
WATCH_GROWTH = """() => {
    window.growth = [];
    const look = () => {
        const answer = [...document.querySelectorAll('[data-testid=message][data-author=model]')].at(-1);
        const text = [...(answer?.querySelectorAll('.prose') ?? [])].map((part) => part.textContent).join('').trim();
        if (text !== '' && text !== window.growth.at(-1)) window.growth.push(text);
    };
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


class Llama:
    """The local model's server, as its process tells where it is."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        proc = Path(f"/proc/{pid}")
        self._url = f"http://127.0.0.1:{int(proc.joinpath('cmdline').read_bytes().split(bytes(1))[-2])}"
        environment = dict(entry.partition(b"=")[::2] for entry in proc.joinpath("environ").read_bytes().split(b"\0"))
        self._key = environment[KEY_VARIABLE.encode()].decode()

    def is_ready(self) -> bool:
        """Whether a server is there, with its model loaded."""
        try:
            return httpx.get(f"{self._url}/health").is_success
        except httpx.HTTPError:
            return False

    def tokens_predicted(self) -> float:
        """Its own account of the tokens it made."""
        answer = httpx.get(f"{self._url}/metrics", headers={"Authorization": f"Bearer {self._key}"})
        lines = answer.raise_for_status().text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("llamacpp:tokens_predicted_total "))


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Parley with nothing given to it: it brings its own PostgreSQL, Valkey and model."""
    stack = Stack(tmp_path_factory.mktemp("own")).start()
    yield stack
    stack.stop()


@pytest.fixture
def admin(own_stack: Stack, browser: Browser) -> Iterator[Visitor]:
    """The demo company's admin, signed in with what `up` printed."""
    printed = LOGIN.search(own_stack.output)
    assert printed, own_stack.output
    visitor = Visitor(browser, own_stack.url)
    visitor.sign_in(printed[1], printed[2])
    yield visitor
    visitor.close()


def test_the_real_models_answer_streams_in_and_stays(admin: Visitor, own_stack: Stack) -> None:
    llama = Llama(own_stack.children()["llama"])
    before = llama.tokens_predicted()
    admin.make_room("Capitals")
    admin.page.evaluate(WATCH_GROWTH)
    admin.ask(QUESTION)

    expect(admin.answers("complete")).to_contain_text("Paris")
    grown = admin.page.evaluate("window.growth")
    assert len(admin.watched.deltas) >= 3
    assert len(grown) >= 3
    assert all(after.startswith(earlier.rstrip(".")) for earlier, after in pairwise(grown)), grown
    assert llama.tokens_predicted() > before

    shown = admin.text_of(admin.answers("complete"))
    admin.page.reload()
    expect(admin.answers("complete")).to_have_count(1)
    assert admin.text_of(admin.answers("complete")) == shown


def test_without_the_model_there_is_an_error_and_afterwards_an_answer(admin: Visitor, own_stack: Stack) -> None:
    assert own_stack.process is not None
    llama = Llama(own_stack.children()["llama"])
    admin.make_room("Nobody home")
    # The supervisor would start the model again at once.
    os.kill(own_stack.process.pid, signal.SIGSTOP)
    try:
        os.kill(llama.pid, signal.SIGKILL)
        admin.ask(QUESTION)
        expect(admin.answers("failed")).to_be_visible()
    finally:
        os.kill(own_stack.process.pid, signal.SIGCONT)
    assert "Paris" not in admin.page.get_by_role("region", name="Messages").inner_text()

    eventually(llama.is_ready, within_s=30)
    eventually(lambda: _answers_again(admin), within_s=30)
    expect(admin.answers("complete")).to_contain_text("Paris")


def _answers_again(admin: Visitor) -> bool:
    """Ask again. A model that was away is left alone until its health is known: until then, that is what one is told."""
    known = admin.answers().count()
    admin.page.get_by_role("button", name="Try again").last.click()
    expect(admin.answers()).to_have_count(known + 1)
    ended = admin.page.locator(
        '[data-testid="message"][data-author="model"]:is([data-status="complete"], [data-status="failed"])'
    )
    expect(ended).to_have_count(known + 1)
    return admin.answers("complete").count() > 0
