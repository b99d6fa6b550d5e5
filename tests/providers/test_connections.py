"""A tenant's own connections: what goes in, what never comes out, and what they lead to."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from billing.models import TenantPrice
from config.asgi import application
from kernel.redis import sync_redis, tenant_key
from kernel.tenancy import tenant_scope
from providers import routes
from providers.models import Connection, Deployment, Route, RouteTarget
from providers.routes import resolve_route
from providers.services.own_connections import secret_of
from tenants.models import AuditEvent
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.providers.conftest import until
from tests.providers.test_route_access import close, listed, offer
from tests.support.asgi import request
from tests.support.cast import Actor, Company

PATH = "/api/v1/connections"
SECRET = "sk-own-0123456789abcdef"
PUBLIC = "https://llm.example.com/v1"


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    routes._kept.forget_where(lambda _: True)
    yield
    routes._kept.forget_where(lambda _: True)


@pytest.fixture
def upstream(upstream: OpenAIUpstream) -> Iterator[OpenAIUpstream]:
    """The shared upstream; what key it wants is changed here."""
    yield upstream
    upstream.api_key = None


@pytest.fixture
def loopback_allowed(settings: Any) -> None:
    settings.EGRESS_ALLOWED_NETWORKS = ("127.0.0.0/8",)


def create(actor: Actor, **fields: Any) -> Any:
    body = {"name": f"own {secrets.token_hex(4)}", "kind": "openai-compatible", "base_url": PUBLIC, "secret": SECRET}
    body |= fields
    return actor.client.post(PATH, {name: value for name, value in body.items() if value is not None}, format="json")


def created(actor: Actor, **fields: Any) -> dict[str, Any]:
    answer = create(actor, **fields)
    assert answer.status_code == 201, answer.content
    body: dict[str, Any] = answer.json()
    return body


def patch(actor: Actor, connection: dict[str, Any], **fields: Any) -> Any:
    return actor.client.patch(f"{PATH}/{connection['id']}", fields, format="json")


def stored(company: Company) -> list[Connection]:
    with tenant_scope(company.id), transaction.atomic():
        return list(Connection.objects.all())


def test_a_secret_goes_in_and_never_comes_out(company: Company) -> None:
    made = created(company.alice)
    assert (made["has_secret"], made["secret_hint"]) == (True, "cdef")
    changed = patch(company.alice, made, secret="sk-other-0123456789wxyz")
    assert changed.json()["secret_hint"] == "wxyz"
    answers = [
        create(company.alice),
        company.alice.client.get(PATH),
        company.alice.client.get(f"{PATH}/{made['id']}"),
        changed,
        create(company.alice, base_url="http://x"),
    ]
    for answer in answers:
        assert SECRET not in answer.content.decode()
        assert "0123456789" not in answer.content.decode()
    rows = stored(company)
    assert all(b"0123456789" not in bytes(row.secret or b"") for row in rows)
    with tenant_scope(company.id), transaction.atomic():
        assert "sk-other-0123456789wxyz" in {secret_of(row) for row in rows}
        assert "0123456789" not in str(list(AuditEvent.objects.values_list("data", flat=True)))


def test_a_short_secret_shows_nothing(company: Company) -> None:
    assert created(company.alice, secret="short-key")["secret_hint"] == ""
    none = created(company.alice, secret=None)
    assert (none["has_secret"], none["secret_hint"]) == (False, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": "https://other.example.com/v1"},
        {"base_url": "https://llm.example.com/v2"},
        {"base_url": "https://8.8.8.8/v1"},
        {"kind": "groq"},
        {"kind": "openai", "base_url": ""},
    ],
)
def test_another_address_or_kind_needs_the_secret_again(company: Company, fields: dict[str, str]) -> None:
    made = created(company.alice)
    refused = patch(company.alice, made, **fields)
    assert refused.status_code == 400, refused.content
    assert refused.json()["details"] == {"param": "secret"}
    (row,) = stored(company)
    assert (row.kind, row.base_url) == ("openai-compatible", PUBLIC)
    moved = patch(company.alice, made, **fields, secret="sk-new-0123456789")
    assert moved.status_code == 200
    assert moved.json()["secret_hint"] == "6789"


def test_without_the_secret_its_place_may_change(company: Company) -> None:
    """A secret taken away first can't be sent anywhere."""
    made = created(company.alice)
    moved = patch(company.alice, made, base_url="https://other.example.com", secret="")
    assert (moved.status_code, moved.json()["has_secret"]) == (200, False)
    assert patch(company.alice, made, name="only the name").status_code == 200
    assert patch(company.alice, made, kind="openai", base_url="").status_code == 400, "that one needs a key"


@pytest.mark.parametrize(
    ("kind", "query", "status"),
    [
        ("azure", "?api-version=2025-04-01-preview", 201),
        ("azure", "?api-version=", 400),
        ("azure", "?api-version=1&b=2", 400),
        ("azure", "?key=2025-04-01", 400),
        ("azure", "?api-version=1#x", 400),
        ("openai-compatible", "?api-version=2025-04-01", 400),
        ("openai-compatible", "?", 400),
    ],
)
def test_the_version_of_an_api_may_be_in_the_address_where_it_has_one(
    company: Company, kind: str, query: str, status: int
) -> None:
    answer = create(company.alice, kind=kind, base_url=f"https://ours.openai.azure.com/{query}")
    assert answer.status_code == status
    if status == 201:
        assert answer.json()["base_url"] == f"https://ours.openai.azure.com{query}"
        assert patch(company.alice, answer.json(), name="ours").status_code == 200
        assert patch(company.alice, answer.json(), kind="openai-compatible", secret=SECRET).status_code == 400


def test_an_operator_vouches_for_the_address_that_is_and_no_other(company: Company) -> None:
    alias = offer(company)
    (row,) = stored(company)
    assert row.vouched
    made = {"id": str(row.id)}
    assert patch(company.alice, made, name="still there").status_code == 200
    assert stored(company)[0].vouched
    assert patch(company.alice, made, base_url=PUBLIC, secret=SECRET).status_code == 200
    assert not stored(company)[0].vouched
    route = async_to_sync(resolve_route)(company.bob.principal, alias)
    assert [each.guarded for each in route.deployments] == [True]


@pytest.mark.parametrize(
    "base_url",
    [
        "http://llm.example.com/v1",
        "https://127.0.0.1/v1",
        "https://[::1]/v1",
        "https://169.254.169.254/latest",
        "https://user:secret@llm.example.com/v1",
        "https://llm.example.com:22/v1",
        "https://0x7f.1/v1",
        "https://llm.example.com/v1?key=1",
        "https://llm.example.com/v1#x",
        "fake://",
        "file:///etc/passwd",
        "llm.example.com",
        "https://" + "a" * 500 + ".example.com",
    ],
)
def test_an_address_that_may_not_be_called_is_refused(company: Company, base_url: str) -> None:
    refused = create(company.alice, base_url=base_url)
    assert refused.status_code == 400
    made = created(company.alice)
    assert patch(company.alice, made, base_url=base_url, secret=SECRET).status_code == 400
    assert [row.base_url for row in stored(company)] == [PUBLIC]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "no-such"},
        {"name": " "},
        {"name": "a\nb"},
        {"secret": "two words"},
        {"secret": "line\r\nX-Injected: 1"},
        {"secret": "schl\u00fcssel"},
        {"secret": "x" * 5_000},
        {"kind": "openai", "base_url": None, "secret": None},
        {"base_url": None},
        {"tenant": "another"},
    ],
)
def test_bad_input_makes_nothing(company: Company, fields: dict[str, Any]) -> None:
    assert create(company.alice, **fields).status_code == 400
    assert stored(company) == []


def test_names_are_taken_once_and_connections_bounded(company: Company, settings: Any) -> None:
    settings.CONNECTIONS_PER_TENANT_MAX = 2
    made = created(company.alice, name="one")
    assert create(company.alice, name="one").status_code == 409
    created(company.alice, name="two")
    assert patch(company.alice, made, name="two").status_code == 409
    assert create(company.alice, name="three").status_code == 409


def test_what_was_done_is_written_down(company: Company) -> None:
    made = created(company.alice)
    patch(company.alice, made, name="other", secret=SECRET)
    company.alice.client.delete(f"{PATH}/{made['id']}")
    with tenant_scope(company.id), transaction.atomic():
        events = AuditEvent.objects.filter(subject_kind="connection").order_by("id")
        assert [event.action for event in events] == ["connection.created", "connection.updated", "connection.deleted"]
        assert events[1].data == {"name": [made["name"], "other"], "new_secret": True}


def deploy(actor: Actor, connection: dict[str, Any], **fields: Any) -> Any:
    return actor.client.post(f"{PATH}/{connection['id']}/deployments", {"model": "fake-model"} | fields, format="json")


@pytest.mark.usefixtures("loopback_allowed")
def test_a_model_of_ones_own_is_used_with_ones_own_key_and_its_tokens_counted_for_nothing(
    company: Company, upstream: OpenAIUpstream
) -> None:
    upstream.api_key = SECRET
    alias = f"own-{secrets.token_hex(6)}"
    made = created(company.alice, base_url=upstream.base_url)
    answer = deploy(company.alice, made, alias=alias)
    assert answer.status_code == 201, answer.content
    assert answer.json()["aliases"] == [alias]
    assert alias in listed(company.bob.access_token())
    body = {"model": alias, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": f"Bearer {company.api_key}"}
    said = async_to_sync(request)(application, "POST", "/v1/chat/completions", body=body, headers=headers)
    assert said.status_code == 200, said.text
    assert [record.outcome for record in upstream.records] == ["complete"]
    assert said.json()["usage"]["total_tokens"] > 0
    with tenant_scope(company.id), transaction.atomic():
        prices = TenantPrice.objects.all()
        assert {(price.cost_nano_per_mtok, price.sell_nano_per_mtok) for price in prices} == {(0, 0)}
        assert prices.count() == 5


def test_prices_may_be_given(company: Company) -> None:
    made = created(company.alice)
    answer = deploy(company.alice, made, alias="m", input_nano_per_mtok=1_000, output_nano_per_mtok=2_000)
    assert answer.status_code == 201
    with tenant_scope(company.id), transaction.atomic():
        by_meter = dict(TenantPrice.objects.values_list("meter", "sell_nano_per_mtok"))
    assert (by_meter["input"], by_meter["output"], by_meter["reasoning"]) == (1_000, 2_000, 2_000)
    for bad in (-1, 1.5, "x", 10**16):
        assert deploy(company.alice, made, model="n", input_nano_per_mtok=bad).status_code == 400


def test_a_tenants_deployment_is_guarded_and_carries_its_own_key_alone(company: Company) -> None:
    alias = f"own-{secrets.token_hex(6)}"
    offer(alias=alias)
    made = created(company.alice)
    deploy(company.alice, made, alias=alias)
    route = async_to_sync(resolve_route)(company.bob.principal, alias)
    assert [(each.secret, each.base_url, each.guarded) for each in route.deployments] == [(SECRET, PUBLIC, True)]


def test_an_alias_that_hides_the_platforms_is_for_the_same_people(company: Company) -> None:
    alias = offer()
    close(company, alias, roles=["owner"])
    deploy(company.alice, created(company.alice), alias=alias)
    assert alias in listed(company.alice.access_token())
    assert alias not in listed(company.bob.access_token())


@pytest.mark.parametrize("what", ["connection", "deployment"])
def test_an_alias_that_hid_the_platforms_leaves_it_to_the_same_people(company: Company, what: str) -> None:
    alias = offer()
    made = created(company.alice)
    deployment = deploy(company.alice, made, alias=alias).json()
    close(company, alias, roles=["owner"])
    path = f"{PATH}/{made['id']}" + (f"/deployments/{deployment['id']}" if what == "deployment" else "")
    assert company.alice.client.delete(path).status_code == 204
    assert alias in listed(company.alice.access_token())
    assert alias not in listed(company.bob.access_token())


def test_deleting_leaves_nothing_in_the_way(company: Company) -> None:
    alias = offer()
    made = created(company.alice)
    first = deploy(company.alice, made, alias=alias).json()
    assert deploy(company.alice, made, alias=alias).status_code == 409
    deploy(company.alice, made, model="second", alias="mine")
    shown = company.alice.client.get(f"{PATH}/{made['id']}/deployments").json()["data"]
    assert {(item["model"], *item["aliases"]) for item in shown} == {("fake-model", alias), ("second", "mine")}
    assert company.alice.client.delete(f"{PATH}/{made['id']}/deployments/{first['id']}").status_code == 204
    assert alias in listed(company.bob.access_token()), "the platform's is seen again"
    assert company.alice.client.delete(f"{PATH}/{made['id']}").status_code == 204
    assert company.alice.client.get(f"{PATH}/{made['id']}/deployments").status_code == 404
    with tenant_scope(company.id), transaction.atomic():
        counts = [table.objects.count() for table in (Connection, Deployment, Route, RouteTarget)]
    assert counts == [0, 0, 0, 0]


def test_members_see_nothing_of_connections(company: Company) -> None:
    made = created(company.alice)
    for actor in (company.bob, company.vera):
        assert actor.client.get(PATH).status_code == 403
        assert create(actor).status_code == 403
        assert patch(actor, made, name="x").status_code == 403
        assert deploy(actor, made).status_code == 403
        assert actor.client.post(f"{PATH}/{made['id']}/test", {}, format="json").status_code == 403


class TestTrial:
    """A test call says what is wrong, in our words."""

    def tried(self, company: Company, connection: dict[str, Any], **body: Any) -> Any:
        answer = company.alice.client.post(f"{PATH}/{connection['id']}/test", body, format="json")
        assert SECRET not in answer.content.decode()
        return answer

    @pytest.mark.usefixtures("loopback_allowed")
    def test_a_good_one(self, company: Company, upstream: OpenAIUpstream) -> None:
        upstream.api_key = SECRET
        made = created(company.alice, base_url=upstream.base_url)
        before = upstream.open_connections
        answer = self.tried(company, made).json()
        assert (answer["ok"], answer["problem"], answer["models"]) == (True, None, 1)
        assert 0 <= answer["latency_ms"] < 15_000
        said = self.tried(company, made, model="fake-model").json()
        assert (said["ok"], said["models"]) == (True, None)
        async_to_sync(until)(lambda: upstream.open_connections <= before)

    @pytest.mark.usefixtures("loopback_allowed")
    def test_a_wrong_secret(self, company: Company, upstream: OpenAIUpstream) -> None:
        upstream.api_key = "sk-the-right-one"
        made = created(company.alice, base_url=upstream.base_url)
        answer = self.tried(company, made)
        assert answer.status_code == 200
        assert (answer.json()["ok"], answer.json()["problem"]) == (False, "misconfigured")
        assert answer.json()["reason"] == "the deployment is misconfigured (HTTP 401)"

    def test_an_address_that_is_private_after_all(self, company: Company) -> None:
        made = created(company.alice, base_url="https://localhost/v1")
        answer = self.tried(company, made).json()
        assert (answer["ok"], answer["problem"]) == (False, "transient")
        assert answer["reason"] == "no connection could be made"

    def test_an_address_that_an_operator_vouched_for(self, company: Company, upstream: OpenAIUpstream) -> None:
        upstream.api_key = SECRET
        made = created(company.alice)
        with tenant_scope(company.id), transaction.atomic():
            Connection.objects.filter(id=made["id"]).update(base_url=upstream.base_url, vouched=True)
        answer = self.tried(company, made).json()
        assert (answer["ok"], answer["models"]) == (True, 1)

    def test_few_a_minute(self, company: Company, settings: Any) -> None:
        settings.CONNECTION_TRIALS_PER_MINUTE = 2
        made = created(company.alice, kind="fake", base_url=None, secret=None)
        assert [self.tried(company, made).status_code for _ in range(3)] == [200, 200, 429]
        assert sync_redis().ttl(tenant_key(company.id, "connection-trials")) > 0
