"""Whom a model is for: to everybody else it doesn't exist, wherever they ask."""

import secrets
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from msgspec.structs import replace

from chat.pipeline_answering import PipelineAnswering
from config.asgi import application
from kernel.ids import uuid7
from kernel.tenancy import tenant_scope
from providers import routes
from providers.models import Route, RouteAccess
from providers.pipeline.accept import accept
from providers.routes import ModelNotFound
from providers.services.connections import Offer, add_provider
from tenants.credentials import authenticate
from tenants.models import AuditEvent, Group, Membership
from tenants.permissions import PERMISSIONS
from tenants.principals import Principal
from tenants.services.api_keys import IssuedKey, issue_key
from tests.providers.conftest import ask
from tests.support.asgi import Answer, request
from tests.support.cast import Actor, Company
from tests.tenants.conftest import sign_in, with_token
from tests.tenants.test_groups import make as make_group
from tests.tenants.test_groups import put_in


async def in_thread(work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What a view or command would do, from a test on the event loop."""
    return await sync_to_async(work)(*arguments, **named)


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    routes._kept.forget_where(lambda _: True)
    yield
    routes._kept.forget_where(lambda _: True)


def offer(company: Company | None = None, *, alias: str = "") -> str:
    """A model of the company's own, or the platform's."""
    alias = alias or f"model-{secrets.token_hex(6)}"
    add_provider(
        Offer(
            kind="fake",
            name=f"fake-{secrets.token_hex(6)}",
            base_url="http://127.0.0.1:9",
            api_key="",
            models=((alias, "echo"),),
            input_nano_per_mtok=0,
            output_nano_per_mtok=0,
        ),
        tenant_slug=company.tenant.slug if company else None,
    )
    return alias


def close(company: Company, alias: str, **subjects: Any) -> Any:
    """Say whom a model is for, and forget what this process knew of it."""
    answer = company.alice.client.put(f"/api/v1/route-access/{alias}", {"open": False, **subjects}, format="json")
    routes._kept.forget_where(lambda _: True)
    return answer


def key_of(company: Company, actor: Actor, **terms: Any) -> IssuedKey:
    with tenant_scope(company.id), transaction.atomic():
        return issue_key(membership=Membership.objects.get(id=actor.membership_id), name="k", **terms)


async def chat(token: str, alias: str) -> Answer:
    body = {"model": alias, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": f"Bearer {token}"}
    return await request(application, "POST", "/v1/chat/completions", body=body, headers=headers)


async def shown(token: str) -> set[str]:
    answer = await request(application, "GET", "/v1/models", headers={"Authorization": f"Bearer {token}"})
    return {model["id"] for model in answer.json()["data"]}


def listed(token: str) -> set[str]:
    return {model["alias"] for model in with_token(token).get("/api/v1/models").json()["data"]}


both_kinds = pytest.mark.parametrize("own", [True, False], ids=["own", "platform"])


def _closed(company: Company, own: bool, **subjects: Any) -> str:
    alias = offer(company if own else None)
    answer = close(company, alias, **subjects)
    assert answer.status_code == 200, answer.content
    return alias


@both_kinds
def test_a_model_is_for_all_until_somebody_says_for_whom(company: Company, own: bool) -> None:
    alias = offer(company if own else None)
    path = f"/api/v1/route-access/{alias}"
    answer = company.alice.client.get(path).json()
    assert answer == {"alias": alias, "open": True, "roles": [], "groups": [], "members": [], "api_keys": []}
    assert alias in listed(company.bob.access_token())
    close(company, alias, roles=["owner"])
    assert company.alice.client.get(path).json()["roles"] == ["owner"]
    assert company.alice.client.get("/api/v1/route-access").json()["data"] == [
        {"alias": alias, "open": False, "roles": ["owner"], "groups": [], "members": [], "api_keys": []}
    ]
    assert alias not in listed(company.bob.access_token())
    assert company.alice.client.put(path, {"open": True}, format="json").json()["open"]
    assert company.alice.client.get("/api/v1/route-access").json()["data"] == []
    assert alias in listed(company.bob.access_token())


class TestInUse:
    """How a closed model answers at each door."""

    @pytest.fixture(params=[True, False], ids=["own", "platform"])
    def alias(self, company: Company, request: pytest.FixtureRequest) -> str:
        return _closed(company, request.param, roles=["owner"])

    async def test_whom_it_is_for_may_use_it(self, company: Company, alias: str) -> None:
        assert (await chat(company.alice.access_token(), alias)).status_code == 200
        assert (await chat(company.api_key, alias)).status_code == 200, "a key is its owner's"
        assert alias in await shown(company.alice.access_token())

    async def test_to_others_it_does_not_exist(self, company: Company, alias: str) -> None:
        nothing = f"none-{secrets.token_hex(4)}"
        token = company.bob.access_token()
        refused, unknown = await chat(token, alias), await chat(token, nothing)
        assert refused.status_code == unknown.status_code == 404
        assert refused.json()["error"]["code"] == "model_not_found"
        assert refused.text.replace(alias, "X") == unknown.text.replace(nothing, "X")
        assert alias not in await shown(token)
        named = await request(application, "GET", f"/v1/models/{alias}", headers={"Authorization": f"Bearer {token}"})
        assert named.status_code == 404

    async def test_what_one_may_use_is_not_kept_for_another(self, company: Company, alias: str) -> None:
        for _ in range(2):
            assert (await chat(company.alice.access_token(), alias)).status_code == 200
            assert (await chat(company.bob.access_token(), alias)).status_code == 404

    async def test_rooms_are_no_way_around_it(self, company: Company, alias: str) -> None:
        answering = PipelineAnswering()
        assert await answering.choose_model(principal=company.alice.principal, alias=alias) == alias
        with pytest.raises(ModelNotFound):
            await answering.choose_model(principal=company.bob.principal, alias=alias)
        with pytest.raises(ModelNotFound):
            await answering.window(principal=company.bob.principal, alias=alias)
        with pytest.raises(ModelNotFound):
            await accept(
                principal=company.bob.principal,
                request=replace(ask(), model=alias),
                request_id=uuid7(),
                surface="room",
                subject_kind="room",
                subject_id=uuid7(),
            )


def test_a_tenants_access_is_its_own(company: Company, neighbour: Company) -> None:
    alias = _closed(company, False, roles=["owner"])
    assert alias not in listed(company.bob.access_token())
    assert alias in listed(neighbour.bob.access_token())
    assert neighbour.alice.client.get("/api/v1/route-access").json()["data"] == []


@both_kinds
async def test_each_kind_of_subject(company: Company, own: bool) -> None:
    alias = await in_thread(_closed, company, own)
    bobs = await in_thread(key_of, company, company.bob)
    others = await in_thread(key_of, company, company.bob)

    async def may(token: str) -> bool:
        routes._kept.forget_where(lambda _: True)
        return (await chat(token, alias)).status_code == 200

    for subjects, bob, key, other in (
        ({}, False, False, False),
        ({"roles": ["member"]}, True, True, True),
        ({"members": [str(company.bob.membership_id)]}, True, True, True),
        ({"api_keys": [str(bobs.row.id)]}, False, True, False),
        ({"roles": ["admin"], "members": [str(company.alice.membership_id)]}, False, False, False),
    ):
        assert (await in_thread(close, company, alias, **subjects)).status_code == 200
        answers = [await may(company.bob.access_token()), await may(bobs.text), await may(others.text)]
        assert answers == [bob, key, other], subjects


async def test_a_group_opens_a_model_to_its_members_at_once_and_no_longer(company: Company) -> None:
    group = await in_thread(make_group, company.alice)
    alias = await in_thread(_closed, company, False, groups=[group])
    key = (await in_thread(key_of, company, company.bob)).text
    assert (await chat(key, alias)).status_code == 404
    assert await in_thread(put_in, company.alice.client, group, company.bob) == 201
    assert (await chat(key, alias)).status_code == 200
    token = (await in_thread(sign_in, company.bob))["access"]
    assert (await chat(token, alias)).status_code == 200
    member = f"/api/v1/groups/{group}/members/{company.bob.membership_id}"
    assert (await in_thread(company.alice.client.delete, member)).status_code == 204
    assert (await chat(key, alias)).status_code == 404


@both_kinds
def test_a_model_whose_last_group_is_deleted_stays_closed(company: Company, own: bool) -> None:
    group = make_group(company.alice)
    alias = _closed(company, own, groups=[group])
    assert company.alice.client.delete(f"/api/v1/groups/{group}").status_code == 204
    answer = company.alice.client.get(f"/api/v1/route-access/{alias}").json()
    assert (answer["open"], answer["groups"]) == (False, [])
    assert alias not in listed(company.bob.access_token())


def test_subjects_of_others_are_as_good_as_unknown(company: Company, neighbour: Company) -> None:
    alias = offer(company)
    theirs = make_group(neighbour.alice)
    key = key_of(neighbour, neighbour.bob).row.id
    for field, foreign in (
        ("groups", theirs),
        ("members", str(neighbour.bob.membership_id)),
        ("api_keys", str(key)),
        ("roles", "king"),
    ):
        unknown = "queen" if field == "roles" else str(uuid.uuid4())
        refused, missing = (close(company, alias, **{field: [each]}) for each in (foreign, unknown))
        assert refused.status_code == missing.status_code == 400
        assert refused.json()["details"] == missing.json()["details"] == {"param": field}
    assert company.alice.client.get(f"/api/v1/route-access/{alias}").json()["open"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"open": "perhaps"},
        {"open": True, "roles": ["owner"]},
        {"open": False, "roles": "owner"},
        {"open": False, "members": ["x"]},
        {"open": False, "people": []},
        {"open": False, "groups": [str(uuid.uuid4())] * 201},
    ],
)
def test_bad_input_changes_nothing(company: Company, body: dict[str, Any]) -> None:
    alias = _closed(company, True, roles=["admin"])
    path = f"/api/v1/route-access/{alias}"
    assert company.alice.client.put(path, body, format="json").status_code == 400
    assert company.alice.client.get(path).json()["roles"] == ["admin"]


def test_only_who_manages_access_sees_and_changes_it_and_a_key_only_of_its_models(company: Company) -> None:
    alias = offer(company)
    path = f"/api/v1/route-access/{alias}"
    for actor in (company.bob, company.vera):
        assert actor.client.get(path).status_code == 403
        assert actor.client.put(path, {"open": True}, format="json").status_code == 403
    wide = key_of(company, company.alice, scopes=sorted(PERMISSIONS)).text
    narrow = key_of(company, company.alice, scopes=sorted(PERMISSIONS), allowed_models=["other-*"]).text
    assert with_token(wide).get(path).status_code == 200
    assert with_token(narrow).get(path).status_code == 404
    assert with_token(narrow).put(path, {"open": True}, format="json").status_code == 404


def test_it_is_written_down(company: Company) -> None:
    alias = _closed(company, True, roles=["admin"])
    with tenant_scope(company.id), transaction.atomic():
        event = AuditEvent.objects.get(action="route_access.set")
        assert event.subject_id == Route.objects.get(alias=alias).id
        # Each subject once, and the row that names nobody.
        assert RouteAccess.objects.count() == 2
        assert Group.objects.count() == 0
    assert event.data["alias"] == alias
    assert event.data["roles"] == ["admin"]


async def test_a_key_is_for_a_family_of_models(company: Company) -> None:
    family, other = f"fam-{secrets.token_hex(4)}", offer_name()
    one, two, three = f"{family}-a", f"{family}-b", other
    for alias in (one, two, three):
        await in_thread(offer, company, alias=alias)
    key = (await in_thread(key_of, company, company.bob, allowed_models=[f"{family}-*"])).text
    assert [(await chat(key, alias)).status_code for alias in (one, two, three)] == [200, 200, 404]
    assert await shown(key) == {one, two}
    caller: Principal = await authenticate(key, address="127.0.0.1")
    assert caller.may_use(f"{family}-*")
    assert not caller.may_use(f"{family}*")


def test_a_key_gives_no_wider_family_than_its_own(company: Company) -> None:
    maker = with_token(key_of(company, company.alice, scopes=["api_keys.use"], allowed_models=["fam-*", "x"]).text)

    def make(models: list[str] | None) -> int:
        body = {"name": "k", "scopes": ["api_keys.use"], "allowed_models": models}
        return int(maker.post("/api/v1/api-keys", body, format="json").status_code)

    assert [make(models) for models in (["fam-1"], ["fam-a*"], ["fam-*"], ["x"], [])] == [201] * 5
    assert [make(models) for models in (["*"], ["fam*"], ["fam-1", "y"], None)] == [403] * 4


def offer_name() -> str:
    return f"model-{secrets.token_hex(6)}"
