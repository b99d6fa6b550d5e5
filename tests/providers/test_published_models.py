"""What providers say that they serve is asked for, kept and shown; one that doesn't answer is left alone for a while."""

import secrets
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from celery.signals import before_task_publish
from django.db import transaction

from config.celery import app
from kernel.redis import sync_redis, tenant_key
from kernel.tasks import HEADER
from kernel.tenancy import tenant_scope
from providers.models import Connection, PlatformConnection
from providers.services import published
from providers.services.connections import Offer, add_provider
from providers.services.published import Refreshed, names_of, pause_s
from providers.tasks import refresh_models, refresh_own_models, refresh_platform_models
from providers.types import ModelInfo
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.providers.test_connections import PATH, SECRET, create, created, patch
from tests.support.cast import Company


@pytest.fixture
def upstream(upstream: OpenAIUpstream, settings: Any) -> Iterator[OpenAIUpstream]:
    """An upstream with two models that tenants may call; what it serves and wants is changed here."""
    settings.EGRESS_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    before, upstream.models = upstream.models, ("small", "large")
    yield upstream
    upstream.models, upstream.api_key = before, None


def shown(company: Company, connection: dict[str, Any]) -> dict[str, Any]:
    answer = company.alice.client.get(f"{PATH}/{connection['id']}/models")
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def refresh(company: Company) -> Refreshed:
    with tenant_scope(company.id):
        return published.refresh_own_models()


@pytest.mark.parametrize("body", [{}, {"model": "small"}], ids=["the list", "a word"])
def test_a_good_test_fills_the_list(company: Company, upstream: OpenAIUpstream, body: dict[str, str]) -> None:
    made = created(company.alice, base_url=upstream.base_url)
    assert shown(company, made) == {"models": [], "published_at": None}
    assert company.alice.client.post(f"{PATH}/{made['id']}/test", body, format="json").json()["ok"]
    assert shown(company, made)["models"] == ["small", "large"]
    assert shown(company, made)["published_at"] is not None


def test_a_bad_test_leaves_it(company: Company, upstream: OpenAIUpstream) -> None:
    made = created(company.alice, base_url=upstream.base_url)
    refresh(company)
    before = shown(company, made)
    upstream.api_key = "sk-another"
    assert not company.alice.client.post(f"{PATH}/{made['id']}/test", {}, format="json").json()["ok"]
    assert shown(company, made) == before


def test_the_task_of_a_tenant_asks_for_its_own_with_its_key(
    company: Company, neighbour: Company, upstream: OpenAIUpstream
) -> None:
    upstream.api_key = SECRET
    made = created(company.alice, base_url=upstream.base_url)
    theirs = created(neighbour.alice, base_url=upstream.base_url)
    refresh_own_models.apply(headers={HEADER: str(company.id)}).get()
    assert shown(company, made)["models"] == ["small", "large"]
    assert shown(neighbour, theirs)["models"] == []
    upstream.models = ("larger",)
    assert refresh(company) == Refreshed(asked=1, failed=0)
    assert shown(company, made)["models"] == ["larger"]


def test_another_address_has_another_list(company: Company, upstream: OpenAIUpstream) -> None:
    made = created(company.alice, base_url=upstream.base_url)
    refresh(company)
    assert patch(company.alice, made, name="the same place").status_code == 200
    assert shown(company, made)["models"]
    assert patch(company.alice, made, base_url="https://other.example.com", secret=SECRET).status_code == 200
    assert shown(company, made) == {"models": [], "published_at": None}


def test_who_fails_is_left_alone_for_longer_each_time(company: Company, upstream: OpenAIUpstream) -> None:
    upstream.api_key = "sk-another"
    made = created(company.alice, base_url=upstream.base_url)
    fine = created(company.alice, kind="fake", base_url=None, secret=None)
    pause = tenant_key(company.id, "models-pause", made["id"])
    left_s = []
    for _ in range(2):
        assert refresh(company) == Refreshed(asked=2, failed=1)
        assert refresh(company) == Refreshed(asked=1, failed=0), "it isn't asked meanwhile"
        left_s.append(sync_redis().ttl(pause))
        sync_redis().delete(pause)
    assert 3_600 < left_s[0] <= 2 * 3_600 < left_s[1] <= 4 * 3_600
    assert (shown(company, made)["models"], shown(company, fine)["models"]) == ([], ["echo"])
    upstream.api_key = SECRET
    assert refresh(company) == Refreshed(asked=2, failed=0)
    assert not sync_redis().exists(tenant_key(company.id, "models-failures", made["id"]))


def test_a_private_address_is_not_asked(company: Company, upstream: OpenAIUpstream, settings: Any) -> None:
    made = created(company.alice, base_url=upstream.base_url)
    settings.EGRESS_ALLOWED_NETWORKS = ()
    before = upstream.open_connections
    assert refresh(company) == Refreshed(asked=1, failed=1)
    assert (shown(company, made)["models"], upstream.open_connections) == ([], before)


def test_what_cannot_be_read_or_is_no_provider_any_more_counts_as_failed(company: Company) -> None:
    for kind, secret in (("fake", b"not encrypted"), ("gone", None)):
        with tenant_scope(company.id), transaction.atomic():
            Connection.objects.create(
                tenant_id=company.id, name=secrets.token_hex(4), kind=kind, base_url="fake://", secret=secret
            )
    assert refresh(company) == Refreshed(asked=2, failed=2)


def test_names_are_bounded() -> None:
    said = ["m", "m", "", "x" * 201, "line\nbreak", "n", *(f"model-{number}" for number in range(2_000))]
    names = names_of(ModelInfo(name) for name in said)
    assert names[:3] == ("m", "n", "model-0")
    assert len(names) == published.MAX_MODELS


def test_a_pause_is_a_day_at_most() -> None:
    assert [pause_s(failures) // 3_600 for failures in (1, 2, 3, 4, 5, 1_000_000)] == [2, 4, 8, 16, 24, 24]


def test_the_platforms_job_asks_for_its_own_and_sends_each_tenant_a_task(
    company: Company, neighbour: Company, upstream: OpenAIUpstream
) -> None:
    """A tenant without connections gets none."""
    assert create(company.alice).status_code == 201
    name = f"listed-{secrets.token_hex(4)}"
    offer = Offer("openai-compatible", name, upstream.base_url, "", ((name, "small"),), 0, 0)
    added = add_provider(offer)
    sent: list[uuid.UUID] = []
    asked: list[str] = []

    def note(sender: str, headers: dict[str, Any], **_: Any) -> None:
        if sender == refresh_own_models.name:
            sent.append(uuid.UUID(headers[HEADER]))
        else:
            asked.append(sender)

    before_task_publish.connect(note)
    try:
        refresh_models.apply().get()
    finally:
        before_task_publish.disconnect(note)
        app.control.purge()
    assert sent.count(company.id) == 1
    assert neighbour.id not in sent
    assert asked == [refresh_platform_models.name]
    rows = PlatformConnection.objects.using("platform")
    for _ in range(1 + rows.count() // published.MAX_CONNECTIONS):
        # Other tests' connections may have been first.
        published.refresh_platform_models()
    row = rows.get(id=added.connection_id)
    assert row.published_models == ["small", "large"]
    assert row.published_at is not None


@pytest.mark.parametrize("pausing", [True, False])
def test_those_that_never_answer_take_nobodys_turn(
    company: Company, upstream: OpenAIUpstream, monkeypatch: pytest.MonkeyPatch, *, pausing: bool
) -> None:
    monkeypatch.setattr(published, "MAX_CONNECTIONS", 2)
    if not pausing:
        # As it is without Redis, which keeps who is left alone.
        monkeypatch.setattr(published, "_count_failure", lambda _: None)
    for _ in range(3):
        created(company.alice, base_url="http://127.0.0.1:9")
    well = created(company.alice, base_url=upstream.base_url)
    assert [refresh(company), refresh(company)] == [Refreshed(asked=2, failed=2), Refreshed(asked=2, failed=1)]
    assert shown(company, well)["models"] == ["small", "large"]
    assert refresh(company) == (Refreshed(asked=1, failed=0) if pausing else Refreshed(asked=2, failed=2))


def test_many_connections_are_asked_by_several_messages_each_once(
    company: Company, upstream: OpenAIUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "MAX_CONNECTIONS", 2)
    made = [created(company.alice, base_url=upstream.base_url) for _ in range(5)]
    messages: list[tuple[Any, ...]] = []
    monkeypatch.setattr(refresh_own_models, "apply_async", lambda args, **_: messages.append(args))
    goes: list[tuple[Any, ...]] = [()]
    for args in goes:
        refresh_own_models.apply(args=args, headers={HEADER: str(company.id)}).get()
        goes += messages
        messages.clear()
    assert [args[1:] for args in goes] == [(), (2,), (3,)]
    assert all(shown(company, one)["models"] == ["small", "large"] for one in made)
    with tenant_scope(company.id):
        assert published.refresh_own_models(not_since=datetime.fromisoformat(goes[-1][0])).asked == 0


def test_a_member_sees_nothing_of_it(company: Company, neighbour: Company) -> None:
    made = created(company.alice)
    assert company.bob.client.get(f"{PATH}/{made['id']}/models").status_code == 403
    assert neighbour.alice.client.get(f"{PATH}/{made['id']}/models").status_code == 404
