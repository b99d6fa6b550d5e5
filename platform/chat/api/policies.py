"""A tenant's rules for its rooms, over REST."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.base import RoomsAPIView
from chat.services.policies import PolicyChange, change_policy, read_policy
from chat.shapes import body
from kernel.api.serializers import StrictSerializer
from tenants.api.base import principal_of


class PolicyInput(StrictSerializer):
    """What to change; what is left out stays."""

    retention_days = serializers.IntegerField(
        required=False, allow_null=True, help_text="Messages are deleted after so many; null: never."
    )
    sharing = serializers.BooleanField(required=False, help_text="Whether rooms may be shared by link.")
    titles = serializers.BooleanField(required=False, help_text="Whether models give rooms their titles.")


class PolicyOutput(serializers.Serializer[Any]):
    """The rules in force."""

    retention_days = serializers.IntegerField(allow_null=True)
    sharing = serializers.BooleanField()
    titles = serializers.BooleanField()


class PolicyView(RoomsAPIView):
    """How long messages are kept, and whether rooms may be shared by link."""

    permissions = {"GET": "rooms.read", "PATCH": "rooms.manage"}

    @extend_schema(operation_id="room_policy_get", responses=PolicyOutput, tags=["rooms"])
    async def get(self, request: Request) -> Response:
        return Response(body(await read_policy(member=principal_of(request))))

    @extend_schema(operation_id="room_policy_update", request=PolicyInput, responses=PolicyOutput, tags=["rooms"])
    async def patch(self, request: Request) -> Response:
        given = PolicyInput(data=request.data, partial=True)
        given.is_valid(raise_exception=True)
        change = PolicyChange(**given.validated_data)
        return Response(body(await change_policy(member=principal_of(request), change=change)))
