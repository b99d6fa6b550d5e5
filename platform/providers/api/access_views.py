"""Who may use which model."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kernel.api.pagination import Page, paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import StrictSerializer, page_of
from kernel.api.views import TenantAPIView
from providers.models import RouteAccess
from providers.services import access
from providers.services.access import MAX_SUBJECTS, Access
from tenants.api.base import principal_of


def _named(child: "serializers.Field[Any, Any, Any, Any]") -> serializers.ListField:
    return serializers.ListField(child=child, required=False, default=list, max_length=MAX_SUBJECTS)


class RouteAccessInput(StrictSerializer):
    """Whom a model is for. With `open` it is for everybody who uses models, and the lists stay empty."""

    open = serializers.BooleanField()
    roles = _named(serializers.CharField(max_length=32))
    groups = _named(serializers.UUIDField())
    members = _named(serializers.UUIDField())
    api_keys = _named(serializers.UUIDField())

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if data["open"] and any(data[name] for name in ("roles", "groups", "members", "api_keys")):
            raise serializers.ValidationError({"open": "What is open to all is for nobody in particular."})
        return data


class RouteAccessOutput(serializers.Serializer[Access]):
    """Whom a model is for: everybody if `open`, else the members of these roles and groups, these members, and these keys."""

    alias = serializers.CharField()
    open = serializers.BooleanField()
    roles = serializers.ListField(child=serializers.CharField())
    groups = serializers.ListField(child=serializers.UUIDField())
    members = serializers.ListField(child=serializers.UUIDField())
    api_keys = serializers.ListField(child=serializers.UUIDField())


def access_body(found: Access) -> dict[str, Any]:
    """`RouteAccessOutput`."""
    return {
        "alias": found.alias,
        "open": found.is_open,
        "roles": list(found.roles),
        "groups": [str(each) for each in found.groups],
        "members": [str(each) for each in found.members],
        "api_keys": [str(each) for each in found.api_keys],
    }


class RouteAccessesView(TenantAPIView):
    """The models that aren't for everybody."""

    permissions = {"GET": "access.manage"}

    @extend_schema(
        operation_id="route_access_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(RouteAccessOutput(many=True), "RouteAccessPage"),
        tags=["models"],
    )
    def get(self, request: Request) -> Response:
        page: Page = paginate(request, access.closed_routes(), render=_as_it_is, descending=True)
        found = access.accesses(closed=page.data)
        return Response(Page([access_body(each) for each in found], page.next_cursor).body())


class RouteAccessView(TenantAPIView):
    """Whom one model is for, by its alias."""

    permissions = {"GET": "access.manage", "PUT": "access.manage"}

    @extend_schema(operation_id="route_access_get", responses=RouteAccessOutput, tags=["models"])
    def get(self, request: Request, alias: str) -> Response:
        return Response(access_body(access.route_access(caller=principal_of(request), alias=alias)))

    @extend_schema(
        operation_id="route_access_set", request=RouteAccessInput, responses=RouteAccessOutput, tags=["models"]
    )
    def put(self, request: Request, alias: str) -> Response:
        given = RouteAccessInput(data=request.data)
        given.is_valid(raise_exception=True)
        data = given.validated_data
        wanted = Access(
            alias=alias,
            is_open=data["open"],
            roles=tuple(data["roles"]),
            groups=tuple(data["groups"]),
            members=tuple(data["members"]),
            api_keys=tuple(data["api_keys"]),
        )
        return Response(access_body(access.set_route_access(caller=principal_of(request), access=wanted)))


def _as_it_is(row: RouteAccess) -> RouteAccess:
    return row
