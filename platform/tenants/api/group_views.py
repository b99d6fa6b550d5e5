"""Groups and who is in them."""

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from kernel.api.pagination import paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import StrictSerializer, page_of
from kernel.api.views import TenantAPIView
from tenants.api.base import principal_of
from tenants.api.serializers import MemberOutput, member_body
from tenants.models import Group
from tenants.services import groups


class GroupInput(StrictSerializer):
    """A group's name."""

    name = serializers.CharField(min_length=1, max_length=120)


class GroupMemberInput(StrictSerializer):
    """A member to put into a group."""

    member_id = serializers.UUIDField()


class GroupOutput(serializers.Serializer[Group]):
    """A group of members."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    created_at = serializers.DateTimeField()


def group_body(group: Group) -> dict[str, object]:
    """`GroupOutput`."""
    return {"id": str(group.id), "name": group.name, "created_at": group.created_at}


class GroupsView(TenantAPIView):
    """The groups of the tenant."""

    permissions = {"GET": "members.read", "POST": "groups.manage"}

    @extend_schema(
        operation_id="groups_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(GroupOutput(many=True), "GroupPage"),
        tags=["groups"],
    )
    def get(self, request: Request) -> Response:
        return Response(paginate(request, Group.objects.all(), render=group_body, descending=True).body())

    @extend_schema(operation_id="groups_create", request=GroupInput, responses={201: GroupOutput}, tags=["groups"])
    def post(self, request: Request) -> Response:
        group = groups.create_group(caller=principal_of(request), name=_name(request))
        return Response(group_body(group), status=status.HTTP_201_CREATED)


class GroupView(TenantAPIView):
    """One group."""

    permissions = {"GET": "members.read", "PATCH": "groups.manage", "DELETE": "groups.manage"}

    @extend_schema(operation_id="groups_get", responses=GroupOutput, tags=["groups"])
    def get(self, request: Request, group_id: uuid.UUID) -> Response:
        return Response(group_body(groups.access_group(group_id=group_id)))

    @extend_schema(operation_id="groups_update", request=GroupInput, responses=GroupOutput, tags=["groups"])
    def patch(self, request: Request, group_id: uuid.UUID) -> Response:
        group = groups.rename_group(caller=principal_of(request), group_id=group_id, name=_name(request))
        return Response(group_body(group))

    @extend_schema(operation_id="groups_delete", responses={204: None}, tags=["groups"])
    def delete(self, request: Request, group_id: uuid.UUID) -> Response:
        groups.delete_group(caller=principal_of(request), group_id=group_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class GroupMembersView(TenantAPIView):
    """The members of a group."""

    permissions = {"GET": "members.read", "POST": "groups.manage"}

    @extend_schema(
        operation_id="groups_members_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(MemberOutput(many=True), "GroupMemberPage"),
        tags=["groups"],
    )
    def get(self, request: Request, group_id: uuid.UUID) -> Response:
        return Response(paginate(request, groups.group_members(group_id=group_id), render=member_body).body())

    @extend_schema(
        operation_id="groups_members_add", request=GroupMemberInput, responses={201: MemberOutput}, tags=["groups"]
    )
    def post(self, request: Request, group_id: uuid.UUID) -> Response:
        given = GroupMemberInput(data=request.data)
        given.is_valid(raise_exception=True)
        member = groups.add_member_to_group(
            caller=principal_of(request), group_id=group_id, member_id=given.validated_data["member_id"]
        )
        return Response(member_body(member), status=status.HTTP_201_CREATED)


class GroupMemberView(TenantAPIView):
    """A member's place in a group."""

    permissions = {"DELETE": "groups.manage"}

    @extend_schema(operation_id="groups_members_remove", responses={204: None}, tags=["groups"])
    def delete(self, request: Request, group_id: uuid.UUID, member_id: uuid.UUID) -> Response:
        groups.remove_member_from_group(caller=principal_of(request), group_id=group_id, member_id=member_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _name(request: Request) -> str:
    given = GroupInput(data=request.data)
    given.is_valid(raise_exception=True)
    name: str = given.validated_data["name"]
    return name
