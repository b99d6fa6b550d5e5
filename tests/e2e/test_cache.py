"""The exact cache between the two web processes of the running platform."""

import secrets
import time

import httpx2 as httpx
import pytest

from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.no_database

REQUESTS = 24
"""Each on a connection of its own, so that both processes get some."""


def ask(stack: Stack, tenant: Tenant, prompt: str) -> tuple[str, str]:
    """What the cache's header says, and the answer."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "temperature": 0}
    headers = {"authorization": f"Bearer {tenant.api_key}"}
    answer = httpx.post(f"{stack.url}/v1/chat/completions", json=body, headers=headers, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-parley-cache"], answer.json()["choices"][0]["message"]["content"]


def test_what_one_process_was_told_both_know_and_both_forget_within_a_second(
    stack: Stack, tenant: Tenant, upstream: OpenAIUpstream
) -> None:
    prompt = secrets.token_hex(8)
    upstream.script(text="before")
    assert ask(stack, tenant, prompt) == ("miss", "before")
    eventually(lambda: {ask(stack, tenant, prompt) for _ in range(REQUESTS)} == {("exact", "before")})
    upstream.script(text="after")
    with stack.client(stack.sign_in(tenant.owner, tenant.password)["access"]) as rest:
        forgotten = rest.post("/api/v1/cache/invalidate", json={"all": True})
    end = time.monotonic() + 1.0
    assert forgotten.json() == {"deleted": 1}
    while time.monotonic() < end:
        ask(stack, tenant, prompt)
    assert {ask(stack, tenant, prompt) for _ in range(REQUESTS)} == {("exact", "after")}
