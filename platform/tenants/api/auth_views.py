"""Log in, refresh, switch, log out, and tickets for sockets.

The refresh token travels in a cookie that scripts can't read and that only `/api/v1/auth` receives, or, for native
clients, in the body. With the cookie the request's Origin must be ours.
"""

from urllib.parse import urlsplit

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from kernel.api.views import SIGNED_IN, PublicAPIView, TenantAPIView
from kernel.errors import NotAuthenticated, PermissionDenied
from kernel.net import is_loopback
from tenants.api.authentication import address_of
from tenants.api.base import principal_of
from tenants.api.serializers import (
    LoginInput,
    RefreshInput,
    SessionOutput,
    SwitchInput,
    TicketOutput,
    session_body,
)
from tenants.services import sessions
from tenants.services.tickets import issue_ticket

COOKIE = "parley_refresh"
COOKIE_PATH = "/api/v1/auth"


class LoginView(PublicAPIView):
    """Start a session."""

    @extend_schema(operation_id="auth_login", request=LoginInput, responses=SessionOutput, tags=["auth"])
    def post(self, request: Request) -> Response:
        given = _valid(LoginInput, request)
        session = sessions.log_in(
            email=given["email"],
            password=given["password"],
            tenant_slug=given.get("tenant"),
            address=address_of(request),
        )
        return _answer(request, session, in_body=given["transport"] == "body")


class RefreshView(PublicAPIView):
    """Go on with a session: a new access token, and a new refresh token for the one presented."""

    @extend_schema(operation_id="auth_refresh", request=RefreshInput, responses=SessionOutput, tags=["auth"])
    def post(self, request: Request) -> Response:
        refresh, in_body = _presented(request, _valid(RefreshInput, request))
        if refresh is None:
            raise NotAuthenticated("There is no session to go on with.")
        return _answer(request, sessions.refresh_session(refresh=refresh), in_body=in_body)


class LogoutView(PublicAPIView):
    """End a session."""

    @extend_schema(operation_id="auth_logout", request=RefreshInput, responses={204: None}, tags=["auth"])
    def post(self, request: Request) -> Response:
        refresh, _ = _presented(request, _valid(RefreshInput, request))
        if refresh is not None:
            sessions.log_out(refresh=refresh)
        response = Response(status=status.HTTP_204_NO_CONTENT)
        response.delete_cookie(COOKIE, path=COOKIE_PATH, samesite="Strict")
        return response


class SwitchView(TenantAPIView):
    """The same person in another tenant."""

    permissions = {"POST": SIGNED_IN}
    shown_once = ("access", "refresh")

    @extend_schema(operation_id="auth_switch", request=SwitchInput, responses=SessionOutput, tags=["auth"])
    def post(self, request: Request) -> Response:
        caller = principal_of(request)
        if caller.kind != "member":
            raise PermissionDenied("An API key belongs to one tenant.")
        given = _valid(SwitchInput, request)
        refresh, in_body = _presented(request, given)
        session = sessions.switch_tenant(person_id=caller.person_id, tenant_slug=given["tenant"], old_refresh=refresh)
        return _answer(request, session, in_body=in_body)


class TicketView(TenantAPIView):
    """A single-use ticket to open one socket with."""

    permissions = {"POST": SIGNED_IN}
    shown_once = ("ticket",)

    @extend_schema(operation_id="auth_ws_ticket", request=None, responses=TicketOutput, tags=["auth"])
    def post(self, request: Request) -> Response:
        ticket = issue_ticket(credential=request.headers["Authorization"].partition(" ")[2].strip())
        return Response({"ticket": ticket, "expires_in": settings.WS_TICKET_S})


def _valid(serializer_class: type, request: Request) -> dict[str, str]:
    serializer = serializer_class(data=request.data)
    serializer.is_valid(raise_exception=True)
    validated: dict[str, str] = serializer.validated_data
    return validated


def _presented(request: Request, given: dict[str, str]) -> tuple[str | None, bool]:
    """The refresh token, and whether it came in the body. A cookie is only taken from a page of ours."""
    if "refresh" in given:
        return given["refresh"], True
    refresh = request.COOKIES.get(COOKIE)
    if refresh is not None:
        _check_origin(request)
    return refresh, False


def _check_origin(request: Request) -> None:
    origin = request.headers.get("Origin")
    if origin is None:
        # Browsers send Origin with every POST; a client without one is a program with a cookie jar.
        return
    if origin not in settings.ALLOWED_ORIGINS and _host_of(origin) != request.get_host():
        raise PermissionDenied("This origin is not allowed.")


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _answer(request: Request, session: sessions.Session, *, in_body: bool) -> Response:
    body = session_body(session, expires_in=settings.ACCESS_TOKEN_S, with_refresh=in_body)
    response = Response(body, headers={"Cache-Control": "no-store"})
    if not in_body:
        host = urlsplit(f"//{request.get_host()}").hostname or ""
        response.set_cookie(
            COOKIE,
            session.refresh,
            max_age=settings.REFRESH_TOKEN_S,
            path=COOKIE_PATH,
            httponly=True,
            # Plain HTTP only reaches this machine itself; some browsers refuse Secure cookies even there.
            secure=request.is_secure() or not is_loopback(host),
            samesite="Strict",
        )
    return response
