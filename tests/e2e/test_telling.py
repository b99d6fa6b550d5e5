"""What a transaction tells, told by the running platform's own worker; also when that is killed in the middle of it."""

import os
import secrets
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from kernel.ids import uuid7
from tests.support.servers import database_url
from tests.support.stack import Stack, Tenant, eventually

pytestmark = pytest.mark.no_database

NOTICES = 40


@pytest.fixture
def outbox() -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """The running platform's, as its administrator."""
    with psycopg.connect(database_url("test_e2e"), autocommit=True) as connection:
        yield connection


def write_notices(connection: psycopg.Connection[tuple[object, ...]], tenant: Tenant) -> None:
    """As a function of the database would: notices for the owner, and the messages that tell of them, in one transaction."""
    row = connection.execute("SELECT id FROM tenants_membership WHERE tenant_id = %s", (tenant.id,)).fetchone()
    assert row is not None
    with connection.transaction():
        for number in range(NOTICES):
            notice_id = uuid7()
            connection.execute(
                "INSERT INTO tenants_notice (id, tenant_id, topic, once_key, memberships, subject, text) "
                "VALUES (%s, %s, 'webhook.test', %s, %s, %s, 'A text.')",
                (notice_id, tenant.id, secrets.token_hex(8), [row[0]], f"notice {number}"),
            )
            connection.execute(
                "INSERT INTO kernel_outboxmessage (id, tenant_id, topic, payload) VALUES (%s, %s, 'tenants.notice', %s)",
                (uuid7(), tenant.id, f'{{"notice_id": "{notice_id}"}}'),
            )


def subjects(stack: Stack, access: str) -> list[str]:
    with stack.client(access) as rest:
        found = rest.get("/api/v1/notifications", params={"limit": 100}).json()["data"]
    return sorted(notification["subject"] for notification in found)


def count(connection: psycopg.Connection[tuple[object, ...]], tenant: Tenant, condition: str) -> int:
    row = connection.execute(
        f"SELECT count(*) FROM kernel_outboxmessage WHERE tenant_id = '{uuid.UUID(tenant.id)}' AND {condition}"
    ).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]


def test_a_worker_that_is_killed_between_claiming_and_telling_loses_nothing_and_tells_nothing_twice(
    stack: Stack, outbox: psycopg.Connection[tuple[object, ...]]
) -> None:
    tenant = stack.create_tenant()
    access = stack.sign_in(tenant.owner, tenant.password)["access"]
    worker = stack.children()["worker"]
    # Nobody ends a message while its row is held: the worker claims what it can, and is killed in the middle of it.
    with psycopg.connect(database_url("test_e2e")) as holding:
        write_notices(outbox, tenant)
        held = holding.execute(
            "SELECT id FROM kernel_outboxmessage WHERE tenant_id = %s AND status = 'waiting' ORDER BY id DESC LIMIT 15 "
            "FOR UPDATE SKIP LOCKED",
            (tenant.id,),
        ).fetchall()
        eventually(lambda: count(outbox, tenant, "claims > 0") > 0, within_s=20)
        os.kill(worker, signal.SIGKILL)
    assert held
    eventually(lambda: stack.children().get("worker") not in (None, worker), within_s=20)

    def told() -> bool:
        # The minute for which a dead worker's claims hold is over.
        outbox.execute(
            "UPDATE kernel_outboxmessage SET due_at = now() WHERE tenant_id = %s AND status = 'waiting' "
            "AND claimed_until > now() + interval '1 second' AND claimed_until < now() + interval '57 seconds'",
            (tenant.id,),
        )
        return count(outbox, tenant, "status = 'done'") == NOTICES

    eventually(told, within_s=45, failing=lambda: stack.output[-3000:])
    assert subjects(stack, access) == sorted(f"notice {number}" for number in range(NOTICES))


def test_a_webhook_is_tried_by_the_worker_and_its_attempt_logged(stack: Stack) -> None:
    tenant = stack.create_tenant()
    access = stack.sign_in(tenant.owner, tenant.password)["access"]
    with stack.client(access) as rest:
        made = rest.post("/api/v1/webhooks", json={"url": "https://hooks.invalid/parley"}).json()
        path = f"/api/v1/webhooks/{made['webhook']['id']}"
        delivery = rest.post(f"{path}/test").json()

        def logged() -> dict[str, Any] | None:
            found: dict[str, Any] = rest.get(f"{path}/deliveries/{delivery['id']}").json()
            return found if found["log"] else None

        shown = eventually(logged, within_s=30, failing=lambda: stack.output[-3000:])
    assert shown["status"] == "pending"
    assert shown["log"][0]["problem"] == "the endpoint can't be reached"
