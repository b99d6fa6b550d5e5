"""The base of REST views: each method names the permission it needs, and runs in its tenant's transaction."""

import functools
import uuid
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Protocol, TypeVar, cast

from django.db import transaction
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from kernel.api.idempotency import claimed_once, once
from kernel.errors import NotAuthenticated, PermissionDenied
from kernel.tenancy import tenant_scope

Answer = TypeVar("Answer", bound=HttpResponseBase)

SIGNED_IN = "signed-in"
"""Any member or key of the tenant may call this; what it shows is the caller's own."""

PUBLIC = "public"
"""Callable without authentication."""

METHODS = ("get", "post", "put", "patch", "delete")


class Caller(Protocol):
    """What a view needs of whoever is calling."""

    @property
    def id(self) -> uuid.UUID: ...
    @property
    def tenant_id(self) -> uuid.UUID: ...
    @property
    def person_id(self) -> uuid.UUID | None: ...
    @property
    def permissions(self) -> frozenset[str]: ...


class TenantAPIView(APIView):
    """A view whose handlers run as the caller's tenant, in one transaction each.

    `permissions` maps each method to a permission of `tenants.permissions`, or to `SIGNED_IN`. A method without an entry
    is refused. The transaction commits when the handler returns and rolls back when it raises.

    A POST with an `Idempotency-Key` has its effect once (`kernel.api.idempotency`). `shown_once` names the fields of its
    answer that hold a secret, which isn't kept to be shown again.
    """

    permissions: ClassVar[Mapping[str, str]] = {}
    shown_once: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in METHODS:
            if (handler := cls.__dict__.get(name)) is not None:
                setattr(cls, name, _wrapped(name, handler))

    def check_permissions(self, request: Request) -> None:
        """Deny by default."""
        if not request.auth:
            raise NotAuthenticated
        method = request.method or ""
        if method == "OPTIONS" or not hasattr(self, method.lower()):
            return
        needed = self.permissions.get("GET" if method == "HEAD" else method)
        if needed is None or (needed != SIGNED_IN and needed not in self.caller.permissions):
            raise PermissionDenied(details={"permission": needed})

    @property
    def caller(self) -> Caller:
        """Whoever is calling."""
        return cast("Caller", self.request.auth)


def _wrapped(name: str, handler: Callable[..., Response]) -> Callable[..., Response]:
    own = getattr(handler, "opens_its_own", False)
    if name != "post":
        return handler if own else _in_tenant_transaction(handler)
    return claimed_once(handler) if own else _in_tenant_transaction(once(handler))


def without_transaction(handler: Callable[..., Answer]) -> Callable[..., Answer]:
    """A handler of a `TenantAPIView` that waits for others, and holds no transaction open meanwhile: it opens its own,
    which are its tenant's as well."""

    @functools.wraps(handler)
    def run(self: TenantAPIView, request: Request, *args: Any, **kwargs: Any) -> Answer:
        with tenant_scope(self.caller.tenant_id, person_id=self.caller.person_id):
            return handler(self, request, *args, **kwargs)

    run.opens_its_own = True  # type: ignore[attr-defined]
    return run


class PublicAPIView(APIView):
    """A view for callers who have not signed in. No tenant is in scope."""

    permissions: ClassVar[Mapping[str, str]] = {name.upper(): PUBLIC for name in METHODS}
    authentication_classes = ()


def _in_tenant_transaction(handler: Callable[..., Response]) -> Callable[..., Response]:
    @functools.wraps(handler)
    def run(self: TenantAPIView, request: Request, *args: Any, **kwargs: Any) -> Response:
        caller = self.caller
        with tenant_scope(caller.tenant_id, person_id=caller.person_id), transaction.atomic():
            return handler(self, request, *args, **kwargs)

    return run
