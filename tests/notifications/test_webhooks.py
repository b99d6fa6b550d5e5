"""Webhooks: signed, delivered to where tenants may have them, tried again, logged, replayed; and turned off in the end."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import transaction

from kernel import egress
from kernel.ids import uuid7
from kernel.models import OutboxMessage
from tenants.notifications import Audience, notify
from tenants.webhooks import deliver, fan_out, signing
from tenants.webhooks.deliver import SCHEDULE, excerpt
from tenants.webhooks.models import WebhookEndpoint
from tenants.webhooks.upkeep import delete_old_deliveries
from tests.fakes.webhook_receiver import WebhookReceiver
from tests.isolation.roles import administrator
from tests.support.cast import Company

HOOKS = "/api/v1/webhooks"


@pytest.fixture
def receiver(settings: Any) -> Iterator[WebhookReceiver]:
    settings.EGRESS_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    with WebhookReceiver() as running:
        yield running


def add(company: Company, receiver: WebhookReceiver, **more: Any) -> tuple[str, str]:
    """An endpoint's path, and its secret."""
    made = company.alice.client.post(HOOKS, {"url": receiver.url, **more}, format="json")
    assert made.status_code == 201, made.content
    return f"{HOOKS}/{made.json()['webhook']['id']}", made.json()["secret"]


def tell(company: Company, topic: str = "webhook.test", once_key: str = "once", **said: Any) -> uuid.UUID | None:
    with company.scope(), transaction.atomic():
        return notify(
            tenant_id=company.id,
            topic=topic,
            once_key=once_key,
            audience=Audience(),
            subject="A subject",
            text="A text.",
            **said,
        )


def deliveries(company: Company, path: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = company.alice.client.get(f"{path}/deliveries", query).json()["data"]
    return found


def whole(company: Company, path: str, number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = company.alice.client.get(
        f"{path}/deliveries/{deliveries(company, path)[number]['id']}"
    ).json()
    return found


def make_due() -> None:
    with administrator() as admin:
        admin.execute("UPDATE kernel_outboxmessage SET due_at = now() WHERE status = 'waiting'")


def test_an_event_is_delivered_signed_and_logged(
    company: Company, receiver: WebhookReceiver, work_off: Callable[[], int]
) -> None:
    path, secret = add(company, receiver)
    notice_id = tell(company, data={"percent": 80})
    work_off()
    (got,) = receiver.received
    assert got.verified(secret)
    assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 60
    assert got.headers["content-type"] == "application/json"
    event = json.loads(got.body)
    assert (event["id"], event["type"], event["data"]) == (str(notice_id), "webhook.test", {"percent": 80})
    assert event["message"] == {"subject": "A subject", "text": "A text.", "link": ""}
    shown = whole(company, path)
    assert (shown["status"], shown["attempts"], shown["event"]) == ("delivered", 1, event)
    (attempt,) = shown["log"]
    assert (attempt["number"], attempt["status_code"], attempt["problem"]) == (1, 204, "")
    assert 0 <= attempt["latency_ms"] < 10_000


def test_only_the_types_that_were_chosen_come_and_only_while_it_is_on(
    company: Company, neighbour: Company, receiver: WebhookReceiver, work_off: Callable[[], int]
) -> None:
    add(company, receiver, event_types=["webhook.disabled"])
    path, _ = add(company, receiver, enabled=False)
    tell(company)
    tell(neighbour)
    work_off()
    assert receiver.received == []
    company.alice.client.patch(path, {"enabled": True}, format="json")
    tell(company, once_key="two")
    work_off()
    assert len(receiver.received) == 1
    unknown = company.alice.client.post(HOOKS, {"url": receiver.url, "event_types": ["no.such"]}, format="json")
    assert unknown.status_code == 400
    assert "webhook.disabled" in unknown.json()["message"]


def test_what_fails_is_tried_again_with_the_same_id_and_body(
    company: Company, receiver: WebhookReceiver, work_off: Callable[[], int]
) -> None:
    path, secret = add(company, receiver)
    receiver.answers = [500, 302, 200]
    tell(company)
    work_off()
    first = whole(company, path)
    assert (first["status"], first["problem"], len(first["log"])) == ("pending", "HTTP 500", 1)
    assert first["next_attempt_at"] is not None
    for _ in range(2):
        make_due()
        work_off()
    assert [one["status_code"] for one in whole(company, path)["log"]] == [200, 302, 500]
    assert len({(got.headers["webhook-id"], got.body) for got in receiver.received}) == 1
    assert len(receiver.received) == 3  # the redirect was not followed
    assert all(got.verified(secret) for got in receiver.received)
    assert whole(company, path)["status"] == "delivered"


def test_the_schedule_covers_about_a_day() -> None:
    assert 20 * 3600 < sum(SCHEDULE.delays_s) < 28 * 3600
    delays = [SCHEDULE.delay_s(1) or 0.0 for _ in range(50)]
    assert 4 <= min(delays) < max(delays) <= 6


def test_what_was_never_taken_has_failed_and_can_be_replayed(
    company: Company, receiver: WebhookReceiver, work_off: Callable[[], int]
) -> None:
    path, _ = add(company, receiver)
    receiver.status = 503
    tell(company)
    for _ in range(SCHEDULE.attempts):
        make_due()
        work_off()
    failed = whole(company, path)
    assert (failed["status"], failed["attempts"]) == ("failed", SCHEDULE.attempts)
    assert deliveries(company, path, status="failed") != []
    assert deliveries(company, path, status="delivered") == []
    with company.scope(), transaction.atomic():
        # A customer's endpoint that is away is nothing for operators to mend.
        assert not OutboxMessage.objects.filter(status="dead").exists()
    receiver.status = 200
    replay = f"{path}/deliveries/{failed['id']}/replay"
    assert company.alice.client.post(replay).status_code == 202
    assert company.alice.client.post(replay).status_code == 409
    work_off()
    shown = whole(company, path)
    assert (shown["status"], shown["attempts"]) == ("delivered", SCHEDULE.attempts + 1)


def test_an_endpoint_that_took_nothing_for_days_is_turned_off_and_told_of(
    company: Company, receiver: WebhookReceiver, work_off: Callable[[], int]
) -> None:
    path, _ = add(company, receiver)
    receiver.status = 500
    tell(company, once_key="one")
    tell(company, once_key="two")
    work_off()
    assert company.alice.client.get(path).json()["failing_since"] is not None
    with administrator() as admin:
        admin.execute("UPDATE tenants_webhookendpoint SET failing_since = now() - interval '4 days'")
    make_due()
    work_off()
    shown = company.alice.client.get(path).json()
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "failing")
    (notice,) = company.alice.client.get("/api/v1/notifications").json()["data"]
    assert notice["type"] == "webhook.disabled"
    assert receiver.url in notice["text"]
    make_due()
    work_off()
    assert {one["status"] for one in deliveries(company, path)} == {"failed"}
    seen = len(receiver.received)
    assert company.alice.client.post(f"{path}/test").status_code == 409
    again = company.alice.client.patch(path, {"enabled": True}, format="json").json()
    assert (again["enabled"], again["disabled_reason"], again["failing_since"]) == (True, None, None)
    assert len(receiver.received) == seen


def test_an_endpoint_that_is_well_again_has_a_clean_record(
    company: Company, receiver: WebhookReceiver, work_off: Callable[[], int]
) -> None:
    path, _ = add(company, receiver)
    receiver.answers = [500]
    tell(company)
    work_off()
    assert company.alice.client.get(path).json()["failing_since"] is not None
    make_due()
    work_off()
    assert company.alice.client.get(path).json()["failing_since"] is None


def test_one_that_says_it_is_gone_is_turned_off_at_once(
    company: Company, receiver: WebhookReceiver, work_off: Callable[[], int]
) -> None:
    path, _ = add(company, receiver)
    receiver.status = 410
    tell(company)
    work_off()
    shown = company.alice.client.get(path).json()
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "gone")
    assert len(receiver.received) == 1
    assert "410" in company.alice.client.get("/api/v1/notifications").json()["data"][0]["text"]


def test_while_a_secret_is_rotated_both_sign(
    company: Company, receiver: WebhookReceiver, work_off: Callable[[], int]
) -> None:
    path, old = add(company, receiver)
    new = company.alice.client.post(f"{path}/rotate-secret", {"overlap_s": 3600}, format="json").json()["secret"]
    tell(company, once_key="one")
    work_off()
    got = receiver.received[-1]
    assert (got.verified(old), got.verified(new)) == (True, True)
    newest = company.alice.client.post(f"{path}/rotate-secret", {"overlap_s": 0}, format="json").json()["secret"]
    tell(company, once_key="two")
    work_off()
    got = receiver.received[-1]
    assert (got.verified(old), got.verified(new), got.verified(newest)) == (False, False, True)


def test_a_test_event_goes_to_that_endpoint_alone(
    company: Company, receiver: WebhookReceiver, work_off: Callable[[], int]
) -> None:
    path, secret = add(company, receiver)
    other, _ = add(company, receiver)
    sent = company.alice.client.post(f"{path}/test")
    assert (sent.status_code, sent.json()["event_type"]) == (202, "webhook.test")
    work_off()
    (got,) = receiver.received
    assert got.verified(secret)
    assert deliveries(company, other) == []


def test_secrets_are_shown_once_and_kept_encrypted(company: Company, receiver: WebhookReceiver) -> None:
    path, secret = add(company, receiver)
    raw = secret.removeprefix("whsec_")
    assert raw not in company.alice.client.get(path).content.decode()
    assert raw not in company.alice.client.get(HOOKS).content.decode()
    with company.scope(), transaction.atomic():
        row = WebhookEndpoint.objects.get()
    opened = signing.unseal(bytes(row.secret), tenant_id=company.id, endpoint_id=row.id, column="secret")
    assert signing.shown(opened) == secret
    assert opened not in bytes(row.secret)


def test_what_an_answer_says_is_cut_short_and_never_shows_a_secret(
    company: Company, receiver: WebhookReceiver, work_off: Callable[[], int]
) -> None:
    secret = signing.shown(b"k" * 32)
    said = excerpt(f"you sent {secret}\nand v1,c2lnbmF0dXJl {'x' * 600}".encode(), hidden=[secret, "v1,c2lnbmF0dXJl"])
    assert said.startswith("you sent [hidden] and [hidden] xxx")
    assert len(said) == 500
    assert "[hidden]" in excerpt(secret.removeprefix("whsec_").encode(), hidden=[secret])
    path, _ = add(company, receiver)
    receiver.status, receiver.says = 500, b"what runs inside of the operator's network"
    tell(company)
    work_off()
    assert whole(company, path)["log"][0]["excerpt"] == ""


class Outside:
    """Calls loopback as if it were the public internet."""

    def __init__(self, real: egress.Client) -> None:
        self._real = real

    def check(self, url: str) -> egress.Destination:
        return replace(self._real.check(url), inside=False)

    def session(self, *, inside: bool) -> Any:
        assert not inside
        return self._real.session(inside=True)


def test_how_a_public_endpoint_answers_is_shown_without_what_it_was_sent(
    company: Company, receiver: WebhookReceiver, work_off: Callable[[], int], monkeypatch: Any
) -> None:
    path, secret = add(company, receiver)
    real = egress.client()
    monkeypatch.setattr(deliver.egress, "client", lambda: Outside(real))
    receiver.status, receiver.says = 500, f"no such {secret}".encode() + b" \x00\xff" + b"x" * 100_000
    tell(company)
    work_off()
    said = whole(company, path)["log"][0]["excerpt"]
    assert said.startswith("no such [hidden]")
    assert len(said) == 500


def test_an_endpoint_that_hangs_or_is_away_is_logged_without_an_answer(
    company: Company, receiver: WebhookReceiver, work_off: Callable[[], int], monkeypatch: Any
) -> None:
    monkeypatch.setattr(deliver, "TIMEOUT_S", 0.2)
    path, _ = add(company, receiver)
    receiver.hangs = True
    tell(company)
    work_off()
    (attempt,) = whole(company, path)["log"]
    assert (attempt["status_code"], attempt["problem"]) == (None, "no answer in time")
    company.alice.client.patch(path, {"url": "http://127.0.0.1:9/hook"}, format="json")
    make_due()
    work_off()
    assert whole(company, path)["log"][0]["problem"] == "the endpoint can't be reached"


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/x",
        "https://127.0.0.1/x",
        "https://169.254.169.254/latest",
        "https://user:pw@hooks.example/",
        "https://[::1]/x",
        "https://hooks.example:8443/x",
        "ftp://hooks.example/x",
        "https://hooks.example/#x",
        "",
    ],
)
def test_an_address_that_may_not_be_called_is_refused(company: Company, url: str) -> None:
    refused = company.alice.client.post(HOOKS, {"url": url}, format="json")
    assert refused.status_code == 400
    path = f"{HOOKS}/{company.alice.client.post(HOOKS, {'url': 'https://hooks.example/'}, format='json').json()['webhook']['id']}"
    assert company.alice.client.patch(path, {"url": url}, format="json").status_code == 400


def test_an_address_that_was_allowed_once_is_not_called_when_it_is_no_more(
    company: Company, receiver: WebhookReceiver, work_off: Callable[[], int], settings: Any
) -> None:
    path, _ = add(company, receiver)
    settings.EGRESS_ALLOWED_NETWORKS = ()
    tell(company)
    work_off()
    assert receiver.received == []
    assert whole(company, path)["log"][0]["problem"] == "the URL may not be called"


def test_what_waits_is_bounded(company: Company, receiver: WebhookReceiver, monkeypatch: Any, settings: Any) -> None:
    monkeypatch.setattr(fan_out, "PENDING_MAX", 2)
    settings.WEBHOOKS_PER_TENANT_MAX = 1
    path, _ = add(company, receiver)
    for _ in range(3):
        assert company.alice.client.post(f"{path}/test").status_code == 202
    assert [one["status"] for one in deliveries(company, path)] == ["failed", "pending", "pending"]
    assert company.alice.client.post(HOOKS, {"url": receiver.url}, format="json").status_code == 409


def test_who_may_not_manage_webhooks_sees_none(company: Company, receiver: WebhookReceiver) -> None:
    path, _ = add(company, receiver)
    for method in ("get", "delete"):
        assert getattr(company.bob.client, method)(path).status_code == 403


def test_what_was_done_is_in_the_audit(company: Company, receiver: WebhookReceiver) -> None:
    path, _ = add(company, receiver)
    company.alice.client.patch(path, {"description": "ours"}, format="json")
    company.alice.client.post(f"{path}/rotate-secret", {}, format="json")
    assert company.alice.client.delete(path).status_code == 204
    with administrator() as admin:
        rows = admin.execute(
            "SELECT action, data::text FROM tenants_auditevent WHERE tenant_id = %s AND action ^@ 'webhook.' ORDER BY id",
            (company.id,),
        ).fetchall()
    assert [action for action, _ in rows] == [
        f"webhook.{what}" for what in ("created", "updated", "secret_rotated", "deleted")
    ]
    assert "whsec" not in str(rows)


def test_old_deliveries_are_deleted_with_their_log(
    company: Company, receiver: WebhookReceiver, work_off: Callable[[], int]
) -> None:
    path, _ = add(company, receiver)
    tell(company)
    work_off()
    old = uuid.UUID(int=uuid7().int & ((1 << 72) - 1) | (0x0100 << 112))
    with administrator() as admin:
        admin.execute(
            "WITH moved AS (UPDATE tenants_webhookdelivery SET id = %s WHERE tenant_id = %s RETURNING id) "
            "UPDATE tenants_webhookattempt SET delivery_id = (SELECT id FROM moved) WHERE tenant_id = %s",
            (old, company.id, company.id),
        )
    assert delete_old_deliveries() == 1
    assert deliveries(company, path) == []
