"""Me, members, roles and API keys."""

import uuid

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from kernel.api.pagination import paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import page_of
from kernel.api.views import SIGNED_IN, TenantAPIView
from kernel.errors import NotAuthenticated
from tenants import selectors
from tenants.api.base import principal_of
from tenants.api.serializers import (
    ApiKeyChanges,
    ApiKeyInput,
    ApiKeyOutput,
    IssuedKeyOutput,
    MeInput,
    MemberOutput,
    MeOutput,
    RoleInput,
    RolesOutput,
    RotateInput,
    api_key_body,
    me_body,
    member_body,
)
from tenants.permissions import BUILTIN_ROLES, ROLE_NAMES
from tenants.principals import Principal
from tenants.services import api_keys, members, people


class MeView(TenantAPIView):
    """Whoever is calling."""

    permissions = {"GET": SIGNED_IN, "PATCH": SIGNED_IN}

    @extend_schema(operation_id="me", responses=MeOutput, tags=["me"])
    def get(self, request: Request) -> Response:
        return Response(_me(principal_of(request)))

    @extend_schema(operation_id="me_update", request=MeInput, responses=MeOutput, tags=["me"])
    def patch(self, request: Request) -> Response:
        caller = principal_of(request)
        given = MeInput(data=request.data)
        given.is_valid(raise_exception=True)
        people.rename_self(caller=caller, name=given.validated_data["name"])
        return Response(_me(caller))


class MembersView(TenantAPIView):
    """The members of the tenant."""

    permissions = {"GET": "members.read"}

    @extend_schema(
        operation_id="members_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(MemberOutput(many=True), "MemberPage"),
        tags=["members"],
    )
    def get(self, request: Request) -> Response:
        return Response(paginate(request, selectors.active_members(), render=member_body).body())


class MemberView(TenantAPIView):
    """One member."""

    permissions = {"GET": "members.read", "PATCH": "members.manage", "DELETE": "members.manage"}

    @extend_schema(operation_id="members_get", responses=MemberOutput, tags=["members"])
    def get(self, request: Request, member_id: uuid.UUID) -> Response:
        return Response(member_body(members.access_member(member_id=member_id)))

    @extend_schema(operation_id="members_update", request=RoleInput, responses=MemberOutput, tags=["members"])
    def patch(self, request: Request, member_id: uuid.UUID) -> Response:
        given = RoleInput(data=request.data)
        given.is_valid(raise_exception=True)
        member = members.change_role(
            caller=principal_of(request), member_id=member_id, role=given.validated_data["role"]
        )
        return Response(member_body(member))

    @extend_schema(operation_id="members_remove", responses={204: None}, tags=["members"])
    def delete(self, request: Request, member_id: uuid.UUID) -> Response:
        members.remove_member(caller=principal_of(request), member_id=member_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class RolesView(TenantAPIView):
    """The roles there are."""

    permissions = {"GET": SIGNED_IN}

    @extend_schema(operation_id="roles_list", responses=RolesOutput, tags=["members"])
    def get(self, request: Request) -> Response:
        roles = [
            {"slug": slug, "name": ROLE_NAMES[slug], "permissions": sorted(permissions)}
            for slug, permissions in BUILTIN_ROLES.items()
        ]
        return Response({"data": roles})


class ApiKeysView(TenantAPIView):
    """API keys: one's own, or with `api_keys.manage` all."""

    permissions = {"GET": "api_keys.use", "POST": "api_keys.use"}
    shown_once = ("secret",)

    @extend_schema(
        operation_id="api_keys_list",
        parameters=[
            *PAGE_PARAMETERS,
            OpenApiParameter("mine", bool, description="Only the caller's own keys."),
        ],
        responses=page_of(ApiKeyOutput(many=True), "ApiKeyPage"),
        tags=["API keys"],
    )
    def get(self, request: Request) -> Response:
        caller, now = principal_of(request), timezone.now()
        keys = selectors.visible_keys(caller)
        if request.query_params.get("mine") == "true":
            keys = keys.filter(membership=caller.membership_id)
        return Response(paginate(request, keys, render=lambda key: api_key_body(key, now=now), descending=True).body())

    @extend_schema(
        operation_id="api_keys_create",
        request=ApiKeyInput,
        responses={201: IssuedKeyOutput},
        tags=["API keys"],
    )
    def post(self, request: Request) -> Response:
        given = ApiKeyInput(data=request.data)
        given.is_valid(raise_exception=True)
        issued = api_keys.create_api_key(
            caller=principal_of(request),
            name=given.validated_data["name"],
            scopes=given.validated_data.get("scopes"),
            expires_at=given.validated_data["expires_at"],
            allowed_models=given.validated_data["allowed_models"],
            allowed_networks=given.validated_data["allowed_ips"],
            max_priority=given.validated_data["max_priority"],
            pace_tokens_per_s=given.validated_data["pace_tokens_per_s"],
        )
        return _issued(issued)


class ApiKeyView(TenantAPIView):
    """One key."""

    permissions = {"GET": "api_keys.use", "PATCH": "api_keys.use", "DELETE": "api_keys.use"}

    @extend_schema(operation_id="api_keys_get", responses=ApiKeyOutput, tags=["API keys"])
    def get(self, request: Request, key_id: uuid.UUID) -> Response:
        key = api_keys.access_key(caller=principal_of(request), key_id=key_id)
        return Response(api_key_body(key, now=timezone.now()))

    @extend_schema(operation_id="api_keys_update", request=ApiKeyChanges, responses=ApiKeyOutput, tags=["API keys"])
    def patch(self, request: Request, key_id: uuid.UUID) -> Response:
        given = ApiKeyChanges(data=request.data)
        given.is_valid(raise_exception=True)
        caller = principal_of(request)
        now = api_keys.access_key(caller=caller, key_id=key_id)
        key = api_keys.change_api_key(
            caller=caller,
            key_id=key_id,
            max_priority=given.validated_data.get("max_priority", now.max_priority),
            pace_tokens_per_s=given.validated_data.get("pace_tokens_per_s", now.pace_tokens_per_s),
        )
        return Response(api_key_body(key, now=timezone.now()))

    @extend_schema(operation_id="api_keys_revoke", responses={204: None}, tags=["API keys"])
    def delete(self, request: Request, key_id: uuid.UUID) -> Response:
        api_keys.revoke_api_key(caller=principal_of(request), key_id=key_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class RotateApiKeyView(TenantAPIView):
    """A successor for a key."""

    permissions = {"POST": "api_keys.use"}
    shown_once = ("secret",)

    @extend_schema(
        operation_id="api_keys_rotate",
        request=RotateInput,
        responses={201: IssuedKeyOutput},
        tags=["API keys"],
    )
    def post(self, request: Request, key_id: uuid.UUID) -> Response:
        given = RotateInput(data=request.data)
        given.is_valid(raise_exception=True)
        issued = api_keys.rotate_api_key(
            caller=principal_of(request), key_id=key_id, overlap_s=given.validated_data["overlap_s"]
        )
        return _issued(issued)


def _issued(issued: api_keys.IssuedKey) -> Response:
    body = {"key": api_key_body(issued.row, now=timezone.now()), "secret": issued.text}
    return Response(body, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})


def _me(caller: Principal) -> dict[str, object]:
    memberships = selectors.tenants_of_person(caller.person_id)
    current = next((item for item in memberships if item.membership_id == caller.membership_id), None)
    if current is None:
        raise NotAuthenticated
    shown = memberships if caller.kind == "member" else [current]
    person = people.myself(caller=caller)
    return me_body(person=person, current=current, memberships=shown, permissions=caller.permissions)
