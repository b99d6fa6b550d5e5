"""Bearer authentication of REST: an access token or an API key."""

import structlog
from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from kernel.net import client_address
from tenants.credentials import authenticate_sync
from tenants.principals import Principal


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <access token or API key>`. `request.auth` is then the `Principal`."""

    def authenticate(self, request: Request) -> tuple[None, Principal] | None:
        scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not credential.strip():
            return None
        principal = authenticate_sync(credential.strip(), address=address_of(request))
        structlog.contextvars.bind_contextvars(
            tenant_id=str(principal.tenant_id),
            membership_id=str(principal.membership_id),
            **({"api_key_id": str(principal.api_key_id)} if principal.api_key_id else {}),
        )
        return None, principal

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="parley"'


def address_of(request: Request) -> str:
    """The address the request came from, seen through trusted proxies."""
    return client_address(
        request.META.get("REMOTE_ADDR"), request.headers.get("X-Forwarded-For", ""), settings.TRUSTED_PROXIES
    )


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the OpenAPI document names it."""

    target_class = BearerAuthentication
    name = "bearer"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token, or an API key (`sk-parley-…`).",
        }
