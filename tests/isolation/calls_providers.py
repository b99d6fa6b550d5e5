"""Example calls of models, of the cache, and of what a tenant says and sees of its requests."""

import os
import secrets
import uuid
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from kernel.ids import uuid7
from providers.cache.models import CacheEntry
from providers.cache.stored import sealed
from providers.models import RequestLog, Route
from providers.services.access import Access, set_route_access
from providers.services.own_connections import create_connection
from providers.services.own_deployments import create_deployment
from tests.isolation import calls_routes, calls_semantic
from tests.isolation.calls import Call, Made
from tests.isolation.calls_of_limits import LIMIT_CALLS
from tests.support.cast import Company


def _refused(company: Company) -> Made:
    request_id = uuid7()
    with company.scope(), transaction.atomic():
        RequestLog.objects.create(
            id=request_id,
            tenant_id=company.id,
            at=timezone.now(),
            surface="openai.chat",
            alias="m",
            principal_kind="member",
            membership_id=company.owner.membership_id,
            status=429,
            error_code="rate_limited",
            latency_ms=1,
        )
    return Made(ids={"request_id": request_id}, listed=(request_id,))


def _connection(company: Company) -> uuid.UUID:
    with company.scope(), transaction.atomic():
        return create_connection(caller=company.owner.principal, name=secrets.token_hex(8), kind="fake").id


def _at_connection(body: dict[str, Any] | None = None, *, with_model: bool = False) -> Any:
    def make(company: Company) -> Made:
        ids = {"connection_id": _connection(company)}
        if with_model:
            with company.scope(), transaction.atomic():
                caller = company.owner.principal
                model = create_deployment(caller=caller, model=secrets.token_hex(8), **ids)
            ids["deployment_id"] = model.id
        return Made(ids=ids, body=body)

    return make


def _route(company: Company) -> uuid.UUID:
    """A route whose alias looks like an id, and that is for nobody but owners."""
    alias = uuid7()
    with company.scope(), transaction.atomic():
        Route.objects.create(tenant_id=company.id, alias=str(alias))
        access = Access(str(alias), is_open=False, roles=("owner",))
        set_route_access(caller=company.owner.principal, access=access)
    return alias


def _cache_entry(company: Company) -> uuid.UUID:
    """An answer kept for the owner."""
    entry_id = uuid7()
    now = timezone.now()
    with company.scope(), transaction.atomic():
        CacheEntry.objects.create(
            id=entry_id,
            tenant_id=company.id,
            key=os.urandom(32),
            alias="echo",
            body=sealed(company.id, entry_id, b"kept"),
            size=4,
            tokens=1,
            created_at=now,
            expires_at=now + timedelta(hours=1),
        )
    return entry_id


def _priced(company: Company) -> uuid.UUID:
    """A model of the company's own, whose alias looks like an id."""
    alias = uuid7()
    with company.scope(), transaction.atomic():
        caller = company.owner.principal
        create_deployment(caller=caller, connection_id=_connection(company), model=str(alias))
    return alias


CALLS = (
    Call("GET", "models"),
    Call("GET", "billing/prices", lambda company: Made(listed=(_priced(company),))),
    Call(
        "POST",
        "billing/price-simulations",
        lambda company: Made(body={"model": str(_priced(company)), "tokens": {"input": 10}}),
    ),
    *calls_routes.CALLS,
    *LIMIT_CALLS,
    Call("GET", "guardrails"),
    Call(
        "PATCH",
        "guardrails",
        lambda company: Made(body={"deny": [{"name": "code name", "expression": "(?i)bluebird"}], "mask_cards": True}),
    ),
    Call("GET", "requests", _refused),
    Call("GET", "requests/<uuid:request_id>", _refused),
    Call("GET", "route-access", lambda company: Made(listed=(_route(company),))),
    Call("GET", "route-access/<path:alias>", lambda company: Made(ids={"alias": _route(company)})),
    Call(
        "PUT",
        "route-access/<path:alias>",
        lambda company: Made(ids={"alias": _route(company)}, body={"open": False, "roles": ["admin"]}),
    ),
    Call("GET", "connections", lambda company: Made(listed=(_connection(company),))),
    Call(
        "POST",
        "connections",
        lambda company: Made(body={"name": secrets.token_hex(8), "kind": "fake"}),
        status=201,
    ),
    Call("GET", "connections/<uuid:connection_id>", _at_connection()),
    Call("PATCH", "connections/<uuid:connection_id>", _at_connection({"secret": "something"})),
    Call("DELETE", "connections/<uuid:connection_id>", _at_connection(), status=204),
    Call("POST", "connections/<uuid:connection_id>/test", _at_connection({})),
    Call("GET", "connections/<uuid:connection_id>/models", _at_connection()),
    Call("GET", "connections/<uuid:connection_id>/deployments", _at_connection()),
    Call("POST", "connections/<uuid:connection_id>/deployments", _at_connection({"model": "echo"}), status=201),
    Call(
        "PATCH",
        "connections/<uuid:connection_id>/deployments/<uuid:deployment_id>",
        _at_connection({"prompt_format": "plain"}, with_model=True),
    ),
    Call(
        "DELETE",
        "connections/<uuid:connection_id>/deployments/<uuid:deployment_id>",
        _at_connection(with_model=True),
        status=204,
    ),
    Call("GET", "cache"),
    Call("PATCH", "cache", lambda company: Made(body={"ttl_s": 600})),
    Call("GET", "cache/stats"),
    Call("POST", "cache/stats/reset"),
    Call("POST", "cache/invalidate", lambda company: Made(body={"model": "no-such-model"})),
    Call("POST", "cache/warm-up", lambda company: Made(body={"limit": 10})),
    Call("GET", "cache/entries", lambda company: Made(listed=(_cache_entry(company),))),
    Call(
        "DELETE",
        "cache/entries/<uuid:entry_id>",
        lambda company: Made(ids={"entry_id": _cache_entry(company)}),
        status=204,
    ),
    *calls_semantic.CALLS,
)
