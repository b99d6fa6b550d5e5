"""A balance is right within a second of its settlement: over REST, and as a note on sockets at any of the processes."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import MODEL
from tests.support.stack import Stack
from tests.support.ws_client import Client, Frame

pytestmark = pytest.mark.no_database

ROUNDS = 3
SOCKETS = 4


def is_balance_of(owed_nano: int) -> Callable[[Frame], bool]:
    return lambda frame: (
        (frame["op"], frame.get("type")) == ("note", "balance") and (frame["body"]["owed_nano"] == owed_nano)
    )


async def test_a_balance_is_told_within_a_second(stack: Stack) -> None:
    tenant = stack.create_tenant()
    member = stack.add_member(tenant, "bob")
    owner_token = stack.sign_in(tenant.owner, tenant.password)["access"]
    sockets = [await Client(stack.socket_url, owner_token).hello() for _ in range(SOCKETS)]
    members = await Client(stack.socket_url, stack.sign_in(member.email, member.password)["access"]).hello()
    took_s: list[float] = []
    for _ in range(ROUNDS):
        with stack.client(tenant.api_key) as program:
            body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
            assert program.post("/v1/chat/completions", json=body).status_code == 200
        # The answer's last byte comes after its settlement.
        settled_at = time.monotonic()
        with stack.client(owner_token) as rest:
            owed = rest.get("/api/v1/billing/balance").json()["owed_nano"]
        for socket in sockets:
            await socket.frame(is_balance_of(owed))
        took_s.append(time.monotonic() - settled_at)
    assert owed > 0
    assert statistics.median(took_s) < 1.0, took_s
    assert [frame for frame in members.frames if frame["op"] == "note"] == []
    for socket in (*sockets, members):
        await socket.close()
