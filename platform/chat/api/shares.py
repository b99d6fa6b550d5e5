"""Links to conversations, over REST: for those in the room, and for whoever has one."""

import uuid
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.base import RoomsAPIView
from chat.bounds import SHARE_DAYS, SHARE_DAYS_MAX
from chat.services.shares import ShareShape, list_shares, read_share, revoke_share, share_branch
from chat.shapes import body
from chat.share_throttle import count_view
from kernel.api.pagination import Cursor
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import StrictSerializer, page_of
from kernel.api.views import PublicAPIView
from kernel.loop import on_loop
from kernel.net import client_address
from tenants.api.base import principal_of

UNSEEN = {"X-Robots-Tag": "noindex, nofollow", "Referrer-Policy": "no-referrer", "Cache-Control": "private, no-store"}
"""No search engine lists it, and no other page learns where one came from."""


class ShareInput(StrictSerializer):
    """What to share."""

    message = serializers.UUIDField(
        required=False, default=None, help_text="The branch that leads to this message; else the one that one reads."
    )
    with_others = serializers.BooleanField(
        required=False, default=False, help_text="Take in what others wrote. Owners of the room may."
    )
    days = serializers.IntegerField(
        required=False, default=SHARE_DAYS, min_value=1, max_value=SHARE_DAYS_MAX, help_text="When the link expires."
    )


class ShareOutput(serializers.Serializer[Any]):
    """A link to a conversation as it was."""

    id = serializers.UUIDField()
    room = serializers.UUIDField()
    created_by = serializers.UUIDField(help_text="The membership.")
    with_others = serializers.BooleanField()
    messages = serializers.IntegerField(help_text="How many.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    revoked_at = serializers.DateTimeField(allow_null=True)


class NewShareOutput(ShareOutput):
    """A new link. `token` and `path` are shown once."""

    token = serializers.CharField()
    path = serializers.CharField(help_text="Of the page, below this server's address.")


class SharedMessageOutput(serializers.Serializer[Any]):
    """Something that was said."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(["member", "model", "imported"])
    name = serializers.CharField()
    at = serializers.DateTimeField()
    text = serializers.CharField(allow_blank=True)


class SharedOutput(serializers.Serializer[Any]):
    """A conversation as it was when it was shared."""

    title = serializers.CharField()
    messages = SharedMessageOutput(many=True)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class SharesView(RoomsAPIView):
    """A room's links."""

    permissions = {"GET": "rooms.read", "POST": "rooms.share"}
    shown_once = ("token", "path")

    @extend_schema(
        operation_id="shares_list",
        description="One's own, newest first; an owner of the room sees all.",
        parameters=PAGE_PARAMETERS,
        responses=page_of(ShareOutput(many=True), "SharePage"),
        tags=["sharing"],
    )
    async def get(self, request: Request, room_id: uuid.UUID) -> Response:
        cursor = Cursor.of(request)
        found = await list_shares(
            member=principal_of(request), room_id=room_id, after=cursor.uuid(), limit=cursor.limit + 1
        )
        page = cursor.page(found, render=body, key=lambda share: str(share.id))
        return Response(page.body())

    @extend_schema(
        operation_id="shares_create",
        description="Shares a conversation as it is now, by a link. The tenant has to allow it.",
        request=ShareInput,
        responses={201: NewShareOutput},
        tags=["sharing"],
    )
    async def post(self, request: Request, room_id: uuid.UUID) -> Response:
        given = ShareInput(data=request.data)
        given.is_valid(raise_exception=True)
        asked = given.validated_data
        made = await share_branch(
            member=principal_of(request),
            room_id=room_id,
            through=asked["message"],
            with_others=asked["with_others"],
            days=asked["days"],
        )
        shown = {**body(made.share), "token": made.token, "path": f"/share/{made.token}"}
        return Response(shown, status=status.HTTP_201_CREATED)


class ShareView(RoomsAPIView):
    """One link."""

    permissions = {"DELETE": "rooms.share"}

    @extend_schema(operation_id="shares_revoke", responses={204: None}, tags=["sharing"])
    async def delete(self, request: Request, room_id: uuid.UUID, share_id: uuid.UUID) -> Response:
        await revoke_share(member=principal_of(request), room_id=room_id, share_id=share_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class SharedView(PublicAPIView):
    """What a link leads to: the link is the credential."""

    @extend_schema(
        operation_id="shared_get",
        description="A shared conversation. 404 once it has expired or was revoked.",
        responses=SharedOutput,
        tags=["sharing"],
    )
    def get(self, request: Request, token: str) -> Response:
        forwarded_for = request.META.get("HTTP_X_FORWARDED_FOR", "")
        count_view(client_address(request.META.get("REMOTE_ADDR"), forwarded_for, settings.TRUSTED_PROXIES))
        return Response(body(on_loop(read_share(token))), headers=UNSEEN)


__all__ = ["ShareShape", "ShareView", "SharedView", "SharesView"]
