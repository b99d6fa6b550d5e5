"""Tenants make routes of their own, choose the models of roles, and see how deployments are, but no address or secret."""

import secrets
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from kernel.tenancy import tenant_scope
from providers.adapters.fake import FakeAdapter
from providers.errors import Transient
from providers.models import Deployment, PlatformDeployment, PlatformRoute
from providers.pipeline.breaker import RULES
from providers.pipeline.health import health
from providers.services.connections import Offer, add_provider
from tests.providers.conftest import candidate
from tests.support.cast import Actor, Company

SECRET = "sk-very-secret"
ADDRESS = "http://127.0.0.1:9"


def unique(name: str = "m") -> str:
    return f"{name}-{secrets.token_hex(4)}"


def offer(company: Company | None, *aliases: str) -> list[uuid.UUID]:
    """Deployments of the company's own, or of the platform's: one per alias, each with a route."""
    name = unique("account")
    made = Offer(
        kind="fake",
        name=name,
        base_url=ADDRESS,
        api_key=SECRET,
        models=[(alias, alias) for alias in aliases],
        input_nano_per_mtok=0,
        output_nano_per_mtok=0,
    )
    add_provider(made, tenant_slug=company.tenant.slug if company else None)
    if company is None:
        found = PlatformDeployment.objects.using("platform").filter(connection__name=name)
        return [found.get(model=alias).id for alias in aliases]
    with tenant_scope(company.id), transaction.atomic():
        own = Deployment.objects.filter(connection__name=name)
        return [own.get(model=alias).id for alias in aliases]


def post(who: Actor, **body: Any) -> Any:
    return who.client.post("/api/v1/routes", body, format="json")


def names_for(who: Actor) -> set[str]:
    return {model["alias"] for model in who.client.get("/api/v1/models").json()["data"]}


@pytest.mark.parametrize("way", ["made", "renamed"])
def test_a_route_in_place_of_the_platforms_is_for_the_same_people(company: Company, way: str) -> None:
    alias, other = unique("secret"), unique("other")
    offer(None, alias, other)
    closed = company.alice.client.put(
        f"/api/v1/route-access/{alias}", {"open": False, "roles": ["owner"]}, format="json"
    )
    assert closed.status_code == 200
    made = post(company.alice, alias=alias if way == "made" else unique("route"), fallbacks=[other])
    assert made.status_code == 201
    if way == "renamed":
        renamed = company.alice.client.patch(f"/api/v1/routes/{made.json()['id']}", {"alias": alias}, format="json")
        assert renamed.status_code == 200
    assert alias in names_for(company.alice)
    assert names_for(company.bob) & {alias, other} == {other}
    said = company.alice.client.get(f"/api/v1/route-access/{alias}").json()
    assert (said["open"], said["roles"]) == (False, ["owner"])


@pytest.mark.parametrize("way", ["deleted", "renamed"])
def test_the_platforms_route_that_is_seen_again_is_for_the_same_people(company: Company, way: str) -> None:
    alias, other = unique("secret"), unique("other")
    offer(None, alias, other)
    made = post(company.alice, alias=alias, fallbacks=[other]).json()
    closed = company.alice.client.put(
        f"/api/v1/route-access/{alias}", {"open": False, "roles": ["owner"]}, format="json"
    )
    assert closed.status_code == 200
    assert alias not in names_for(company.bob)
    if way == "deleted":
        assert company.alice.client.delete(f"/api/v1/routes/{made['id']}").status_code == 204
    else:
        changed = {"alias": unique("route")}
        assert company.alice.client.patch(f"/api/v1/routes/{made['id']}", changed, format="json").status_code == 200
        assert changed["alias"] not in names_for(company.bob)
    assert alias in names_for(company.alice)
    assert names_for(company.bob) & {alias, other} == {other}


def test_a_route_of_own_and_platform_deployments_is_made_changed_and_deleted(company: Company) -> None:
    (own,), (platforms,) = offer(company, unique()), offer(None, unique())
    alias = unique("route")
    made = post(
        company.alice,
        alias=alias,
        strategy="weighted",
        targets=[{"deployment": str(platforms), "weight": 3}, {"deployment": str(own)}],
        requires=["tools"],
    )
    assert made.status_code == 201, made.content
    route = made.json()
    assert [(one["deployment"], one["weight"], one["platform"]) for one in route["targets"]] == [
        (str(platforms), 3, True),
        (str(own), 1, False),
    ]
    assert SECRET not in made.content.decode()
    assert ADDRESS not in made.content.decode()
    path = f"/api/v1/routes/{route['id']}"
    changed = company.alice.client.patch(path, {"strategy": "cheapest"}, format="json").json()
    assert changed == route | {"strategy": "cheapest"}
    assert company.alice.client.get(path).json() == changed
    assert changed in company.alice.client.get("/api/v1/routes").json()["data"]
    assert company.alice.client.delete(path).status_code == 204
    assert company.alice.client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"alias": "a b"}, "alias"),
        ({"alias": "a*b"}, "alias"),
        ({"strategy": "best"}, "strategy"),
        ({"targets": []}, "targets"),
        ({"targets": [{"deployment": str(uuid.UUID(int=7))}]}, "targets"),
        ({"fallbacks": ["never-there"]}, "fallbacks"),
        ({"fallbacks": ["x\x00"]}, "fallbacks"),
        ({"requires": ["eyes"]}, "requires"),
    ],
    ids=str,
)
def test_a_route_that_could_not_work_is_refused_by_the_name_of_what_is_wrong(
    company: Company, body: dict[str, Any], param: str
) -> None:
    (own,) = offer(company, unique())
    answer = post(company.alice, **{"alias": unique(), "targets": [{"deployment": str(own)}], **body})
    assert answer.status_code == 400
    assert param in answer.content.decode()


def test_an_alias_is_taken_once(company: Company) -> None:
    alias = unique()
    (own,) = offer(company, alias)
    answer = post(company.alice, alias=alias, targets=[{"deployment": str(own)}])
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def test_fallbacks_that_would_go_in_a_circle_are_refused(company: Company) -> None:
    first, second = unique("first"), unique("second")
    offer(company, first, second)
    routes = {route["alias"]: route["id"] for route in company.alice.client.get("/api/v1/routes").json()["data"]}

    def patch(alias: str, *fallbacks: str) -> Any:
        return company.alice.client.patch(f"/api/v1/routes/{routes[alias]}", {"fallbacks": fallbacks}, format="json")

    assert patch(first, second).status_code == 200
    assert patch(second, second).status_code == 400
    refused = patch(second, first)
    assert refused.status_code == 400
    assert refused.json()["details"] == {"param": "fallbacks"}


def test_another_companys_deployment_is_none(company: Company, new_company: Callable[[], Company]) -> None:
    (theirs,) = offer(new_company(), unique())
    answer = post(company.alice, alias=unique(), targets=[{"deployment": str(theirs)}])
    assert answer.status_code == 400
    assert str(theirs) in answer.json()["message"]


@pytest.mark.parametrize("who", ["bob", "vera"])
def test_members_see_neither_routes_nor_health(company: Company, who: str) -> None:
    client = getattr(company, who).client
    assert [client.get(f"/api/v1/{path}").status_code for path in ("routes", "providers/status")] == [403, 403]


def test_roles_have_models(company: Company) -> None:
    alias = unique("title")
    offer(company, alias)
    client = company.alice.client
    everyone = {"chat": None, "title": None, "summary": None, "embedding": None, "moderation": None}
    assert client.get("/api/v1/model-roles").json() == {"roles": everyone}

    def put(roles: dict[str, str | None]) -> Any:
        return client.put("/api/v1/model-roles", {"roles": roles}, format="json")

    assert put({"title": alias}).json() == {"roles": everyone | {"title": alias}}
    assert put({"title": alias, "chat": alias}).json()["roles"]["chat"] == alias
    assert put({"title": None}).json()["roles"]["title"] is None
    assert put({"title": "never-there"}).status_code == 400
    assert put({"dance": alias}).status_code == 400
    assert company.bob.client.get("/api/v1/model-roles").json()["roles"]["chat"] == alias
    assert company.bob.client.put("/api/v1/model-roles", {"roles": {}}, format="json").status_code == 403


def whole_status(company: Company) -> tuple[dict[str, Any], dict[str, Any]]:
    """The head of the status, and its deployments by id, over all pages."""
    found: dict[str, Any] = {}
    cursor: str | None = ""
    head: dict[str, Any] = {}
    while cursor is not None:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        answer = company.alice.client.get("/api/v1/providers/status", query)
        assert SECRET not in answer.content.decode()
        assert ADDRESS not in answer.content.decode()
        head = answer.json()
        found |= {one["id"]: one for one in head["data"]}
        assert len(head["data"]) <= 2
        cursor = head["next_cursor"]
    return head, found


def test_admins_see_how_deployments_are(company: Company, new_company: Callable[[], Company]) -> None:
    well, broken = offer(company, unique("well"), unique("broken"))
    (platforms,), (theirs,) = offer(None, unique()), offer(new_company(), unique())
    one = candidate(FakeAdapter())
    for _ in range(RULES.failures):
        known = health.of(broken)
        leave = known.breaker.admit()
        assert leave is not None
        known.failed(leave, Transient(cause="connect"), one)
    known = health.of(well)
    leave = known.breaker.admit()
    assert leave is not None
    known.succeeded(leave, first_content_s=0.25)
    _, found = whole_status(company)
    assert str(theirs) not in found
    assert found[str(platforms)]["platform"] is True
    seen = found[str(broken)]
    assert (seen["health"], seen["breaker"], seen["last_error"]) == ("failing", "open", "transient")
    assert seen["last_error_at"] is not None
    seen = found[str(well)]
    assert (seen["health"], seen["breaker"], seen["latency_ms"], seen["median_ms"]) == ("healthy", "closed", 250, 250)


def test_routes_are_read_anew_after_a_change(company: Company) -> None:
    """The platform's route of the same alias is seen again once the tenant's own is gone."""
    alias = unique("both")
    offer(None, alias)
    (own,) = offer(company, unique())
    made = post(company.alice, alias=alias, targets=[{"deployment": str(own)}]).json()
    assert PlatformRoute.objects.using("platform").filter(alias=alias).exists()
    models = {one["alias"] for one in company.alice.client.get("/api/v1/models").json()["data"]}
    assert alias in models
    assert company.alice.client.delete(f"/api/v1/routes/{made['id']}").status_code == 204
    assert alias in {one["alias"] for one in company.alice.client.get("/api/v1/models").json()["data"]}
