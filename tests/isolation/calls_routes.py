"""Example calls of routes, roles and the health of providers."""

import secrets
import uuid
from typing import Any

from django.db import transaction

from kernel.tenancy import tenant_scope
from providers.models import Deployment, Route
from providers.services.connections import Offer, add_provider
from tests.isolation.calls import Call, Made
from tests.support.cast import Company


def _deployment(company: Company) -> uuid.UUID:
    """A deployment of the company's own, and a route of the same name that it serves."""
    name = f"own-{secrets.token_hex(6)}"
    offer = Offer(
        kind="fake",
        name=name,
        base_url="http://127.0.0.1:9",
        api_key="",
        models=((name, "echo"),),
        input_nano_per_mtok=0,
        output_nano_per_mtok=0,
    )
    add_provider(offer, tenant_slug=company.tenant.slug)
    with tenant_scope(company.id), transaction.atomic():
        return Deployment.objects.get(connection__name=name).id


def a_model(company: Company) -> str:
    """The alias of a model of the company's own."""
    deployment_id = _deployment(company)
    with tenant_scope(company.id), transaction.atomic():
        alias: str = Route.objects.get(targets__deployment=deployment_id).alias
    return alias


def _route(company: Company, **body: Any) -> Made:
    deployment_id = _deployment(company)
    with tenant_scope(company.id), transaction.atomic():
        route_id = Route.objects.get(targets__deployment=deployment_id).id
    return Made(ids={"route_id": route_id}, listed=(route_id,), body=body or None)


def _new_route(company: Company) -> Made:
    deployment_id = str(_deployment(company))
    return Made(body={"alias": f"new-{secrets.token_hex(6)}", "targets": [{"deployment": deployment_id}]})


def _status(company: Company) -> Made:
    _deployment(company)
    return Made()


def _roles(company: Company) -> Made:
    return Made(body={"roles": {"title": a_model(company)}})


CALLS = (
    Call("GET", "model-roles"),
    Call("PUT", "model-roles", make=_roles),
    Call("GET", "providers/status", make=_status),
    Call("GET", "routes", make=_route, query="limit=100"),
    Call("POST", "routes", make=_new_route, status=201),
    Call("GET", "routes/<uuid:route_id>", make=_route),
    Call("PATCH", "routes/<uuid:route_id>", make=lambda company: _route(company, strategy="weighted")),
    Call("DELETE", "routes/<uuid:route_id>", make=_route, status=204),
)
