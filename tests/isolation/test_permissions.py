"""Deny by default: a method that names no permission is refused, and no method is without one."""

import inspect

import pytest
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from kernel.api.views import PUBLIC, SIGNED_IN, PublicAPIView, TenantAPIView
from tenants.permissions import BUILTIN_ROLES, DEFAULT_SCOPES, KEY_MANAGEMENT, PERMISSIONS, ROLE_NAMES
from tests.isolation.calls import Route, routes
from tests.support.cast import Company

PUBLIC_ROUTES = {
    "auth/login",
    "auth/refresh",
    "auth/logout",
    "billing/stripe/webhook",
    "downloads/<str:token>",
    "shared/<str:token>",
}
every_route = pytest.mark.parametrize("route", routes(), ids=lambda route: route.path)


@every_route
def test_every_method_names_a_permission_of_the_registry(route: Route) -> None:
    permissions = route.view.permissions  # type: ignore[attr-defined]
    for method in route.methods:
        assert permissions[method] in PERMISSIONS | {SIGNED_IN, PUBLIC}
    if issubclass(route.view, TenantAPIView):
        assert permissions.keys() == set(route.methods)
        assert PUBLIC not in permissions.values()


@every_route
def test_every_view_runs_in_its_tenants_transaction_or_is_listed_as_public(route: Route) -> None:
    assert issubclass(route.view, TenantAPIView | PublicAPIView)
    assert issubclass(route.view, PublicAPIView) == (route.path in PUBLIC_ROUTES)
    if issubclass(route.view, TenantAPIView):
        for method in route.methods:
            handler = getattr(route.view, method.lower())
            assert inspect.unwrap(handler) is not handler, f"{method} runs outside the tenant's transaction"
        assert route.view.check_permissions is TenantAPIView.check_permissions
        assert route.view.authentication_classes == APIView.authentication_classes


def test_what_anybody_signed_in_may_call_is_listed() -> None:
    found = {
        f"{method} {route.path}"
        for route in routes()
        for method in route.methods
        if route.view.permissions[method] == SIGNED_IN  # type: ignore[attr-defined]
    }
    assert found == {"POST auth/switch", "POST auth/ws-ticket", "GET me", "PATCH me", "GET roles"}


class Undeclared(TenantAPIView):
    """Forgot to name its permission."""

    def get(self, request: Request) -> Response:
        return Response("leaked")


def test_a_method_without_a_permission_is_refused_even_to_the_owner(acme: Company) -> None:
    request: HttpRequest = APIRequestFactory().get(
        "/api/v1/x", headers={"Authorization": f"Bearer {acme.owner.access_token()}"}
    )
    answer = Undeclared.as_view()(request)
    assert answer.status_code == 403


def test_roles_are_made_of_the_registry_alone() -> None:
    assert BUILTIN_ROLES.keys() == ROLE_NAMES.keys()
    assert BUILTIN_ROLES["owner"] == PERMISSIONS
    assert all(permissions <= PERMISSIONS for permissions in BUILTIN_ROLES.values())
    assert not DEFAULT_SCOPES & KEY_MANAGEMENT
    assert DEFAULT_SCOPES <= PERMISSIONS
