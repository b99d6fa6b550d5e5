"""Rooms, their snapshots and their members."""

import uuid
from typing import Any

from drf_spectacular.utils import extend_schema
from msgspec import UNSET
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.base import RoomsAPIView
from chat.api.inputs import OwnPlaceInput, RoomChangeInput, RoomFilterInput, RoomInput, RoomMemberInput, RoomRoleInput
from chat.api.serializers import RoomMemberOutput, RoomOutput, SnapshotOutput
from chat.models import RoomMember
from chat.reading_rooms import listed_rooms
from chat.services import members, rooms
from chat.shapes import body
from chat.snapshots import members_by_id, own_room, rooms_by_id, snapshot
from kernel.api.idempotency import command_id
from kernel.api.pagination import Page, paginate
from kernel.api.schema import PAGE_PARAMETERS, PAGING
from kernel.api.serializers import page_of
from kernel.loop import on_loop
from tenants.api.base import principal_of


class RoomsView(RoomsAPIView):
    """The caller's rooms."""

    permissions = {"GET": "rooms.read", "POST": "rooms.write"}

    @extend_schema(
        operation_id="rooms_list",
        description="The rooms one is in, newest first.",
        parameters=[*PAGE_PARAMETERS, RoomFilterInput],
        responses=page_of(RoomOutput(many=True), "RoomPage"),
        tags=["rooms"],
    )
    def get(self, request: Request) -> Response:
        member = principal_of(request)
        found = listed_rooms(member.membership_id, _filters(request)).only("id")
        page = paginate(request, found, render=lambda room: room.id, descending=True)
        shown = on_loop(rooms_by_id(member=member, ids=page.data))
        return Response(Page([body(room) for room in shown], page.next_cursor).body())

    @extend_schema(operation_id="rooms_create", request=RoomInput, responses={201: RoomOutput}, tags=["rooms"])
    async def post(self, request: Request) -> Response:
        given = RoomInput(data=request.data)
        given.is_valid(raise_exception=True)
        room = await rooms.create_room(
            member=principal_of(request), cid=command_id(request, principal_of(request).id), **given.validated_data
        )
        return Response(body(room), status=status.HTTP_201_CREATED)


def _filters(request: Request) -> dict[str, Any]:
    given = RoomFilterInput(data={name: value for name, value in request.query_params.items() if name not in PAGING})
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


class RoomView(RoomsAPIView):
    """One room."""

    permissions = {"GET": "rooms.read", "PATCH": "rooms.write", "DELETE": "rooms.write"}

    @extend_schema(operation_id="rooms_get", responses=RoomOutput, tags=["rooms"])
    async def get(self, request: Request, room_id: uuid.UUID) -> Response:
        return Response(body(await own_room(member=principal_of(request), room_id=room_id)))

    @extend_schema(operation_id="rooms_update", request=RoomChangeInput, responses=RoomOutput, tags=["rooms"])
    async def patch(self, request: Request, room_id: uuid.UUID) -> Response:
        given = RoomChangeInput(data=request.data, partial=True)
        given.is_valid(raise_exception=True)
        names = rooms.RoomChange.__struct_fields__
        change = rooms.RoomChange(**{name: given.validated_data.get(name, UNSET) for name in names})
        room = await rooms.update_room(member=principal_of(request), room_id=room_id, change=change)
        return Response(body(room))

    @extend_schema(operation_id="rooms_delete", responses={204: None}, tags=["rooms"])
    async def delete(self, request: Request, room_id: uuid.UUID) -> Response:
        await rooms.delete_room(member=principal_of(request), room_id=room_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class SnapshotView(RoomsAPIView):
    """A room's whole state, to begin from."""

    permissions = {"GET": "rooms.read"}

    @extend_schema(operation_id="rooms_snapshot", responses=SnapshotOutput, tags=["rooms"])
    async def get(self, request: Request, room_id: uuid.UUID) -> Response:
        return Response(body(await snapshot(member=principal_of(request), room_id=room_id)))


class RoomMembersView(RoomsAPIView):
    """Who is in a room."""

    permissions = {"GET": "rooms.read", "POST": "rooms.write"}

    @extend_schema(
        operation_id="room_members_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(RoomMemberOutput(many=True), "RoomMemberPage"),
        tags=["rooms"],
    )
    def get(self, request: Request, room_id: uuid.UUID) -> Response:
        member = principal_of(request)
        on_loop(own_room(member=member, room_id=room_id))
        present = RoomMember.objects.filter(room=room_id, left_at=None).only("id")
        page = paginate(request, present, render=lambda place: place.id)
        shown = on_loop(members_by_id(member.tenant_id, page.data))
        return Response(Page([body(place) for place in shown], page.next_cursor).body())

    @extend_schema(
        operation_id="room_members_add",
        description="Lets a member of the tenant into a shared room. 200 when they were in it already.",
        request=RoomMemberInput,
        responses={200: RoomMemberOutput, 201: RoomMemberOutput},
        tags=["rooms"],
    )
    async def post(self, request: Request, room_id: uuid.UUID) -> Response:
        given = RoomMemberInput(data=request.data)
        given.is_valid(raise_exception=True)
        added = await members.add_member(
            member=principal_of(request),
            room_id=room_id,
            membership_id=given.validated_data["member"],
            role=given.validated_data["role"],
        )
        return Response(body(added.member), status=status.HTTP_201_CREATED if added.new else status.HTTP_200_OK)


class RoomMemberView(RoomsAPIView):
    """One member's place in a room."""

    permissions = {"PATCH": "rooms.write", "DELETE": "rooms.read"}

    @extend_schema(
        operation_id="room_members_update",
        description="Gives somebody another role. Owners of the room may.",
        request=RoomRoleInput,
        responses=RoomMemberOutput,
        tags=["rooms"],
    )
    async def patch(self, request: Request, room_id: uuid.UUID, room_member_id: uuid.UUID) -> Response:
        given = RoomRoleInput(data=request.data)
        given.is_valid(raise_exception=True)
        place = await members.change_role(
            member=principal_of(request), room_id=room_id, room_member_id=room_member_id, **given.validated_data
        )
        return Response(body(place))

    @extend_schema(
        operation_id="room_members_remove",
        description="Takes somebody out of a room, or leaves it.",
        responses={204: None},
        tags=["rooms"],
    )
    async def delete(self, request: Request, room_id: uuid.UUID, room_member_id: uuid.UUID) -> Response:
        await members.remove_member(member=principal_of(request), room_id=room_id, room_member_id=room_member_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class OwnPlaceView(RoomsAPIView):
    """A room in the caller's own list."""

    permissions = {"PATCH": "rooms.read"}

    @extend_schema(
        operation_id="rooms_arrange",
        description="Pins, mutes or files a room, for oneself alone, or says how far one has read in it.",
        request=OwnPlaceInput,
        responses=RoomOutput,
        tags=["rooms"],
    )
    async def patch(self, request: Request, room_id: uuid.UUID) -> Response:
        given = OwnPlaceInput(data=request.data, partial=True)
        given.is_valid(raise_exception=True)
        place = members.OwnPlace(**given.validated_data)
        return Response(body(await members.arrange_room(member=principal_of(request), room_id=room_id, place=place)))
