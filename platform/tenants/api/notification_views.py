"""What the caller was told in the app."""

import uuid
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kernel.api.pagination import paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import StrictSerializer, page_of
from kernel.api.views import TenantAPIView
from kernel.errors import InvalidRequest
from tenants.api.base import principal_of
from tenants.notifications import inbox
from tenants.notifications.models import Notification


class NotificationInput(StrictSerializer):
    """Whether it was read."""

    read = serializers.BooleanField()


class NotificationOutput(serializers.Serializer[Any]):
    """Something that the caller was told."""

    id = serializers.UUIDField()
    type = serializers.CharField(help_text="The type of the event, as endpoints know it.")
    subject = serializers.CharField()
    text = serializers.CharField()
    link = serializers.CharField(help_text="A path of the browser app; empty for none.")
    created_at = serializers.DateTimeField()
    read_at = serializers.DateTimeField(allow_null=True)


class UnreadOutput(serializers.Serializer[Any]):
    """How many the caller has not read."""

    unread = serializers.IntegerField(max_value=inbox.COUNTED_MAX, help_text="No more than this are counted.")


class AllReadOutput(serializers.Serializer[Any]):
    """How many were marked."""

    read = serializers.IntegerField()


def notification_body(notification: Notification) -> dict[str, object]:
    """`NotificationOutput`."""
    notice = notification.notice
    return {
        "id": str(notification.id),
        "type": notice.topic,
        "subject": notice.subject,
        "text": notice.text,
        "link": notice.link,
        "created_at": notice.created_at,
        "read_at": notification.read_at,
    }


class NotificationsView(TenantAPIView):
    """The caller's notifications."""

    permissions = {"GET": "notifications.read"}

    @extend_schema(
        operation_id="notifications_list",
        description="Newest first.",
        parameters=[
            *PAGE_PARAMETERS,
            OpenApiParameter("unread", bool, description="Only those not read."),
        ],
        responses=page_of(NotificationOutput(many=True), "NotificationPage"),
        tags=["notifications"],
    )
    def get(self, request: Request) -> Response:
        found = inbox.notifications_of(caller=principal_of(request), unread=_flag(request, "unread"))
        return Response(paginate(request, found, render=notification_body, descending=True).body())


class NotificationView(TenantAPIView):
    """One of them."""

    permissions = {"PATCH": "notifications.read"}

    @extend_schema(
        operation_id="notifications_update",
        request=NotificationInput,
        responses=NotificationOutput,
        tags=["notifications"],
    )
    def patch(self, request: Request, notification_id: uuid.UUID) -> Response:
        given = NotificationInput(data=request.data)
        given.is_valid(raise_exception=True)
        marked = inbox.mark_read(
            caller=principal_of(request), notification_id=notification_id, read=given.validated_data["read"]
        )
        return Response(notification_body(marked))


class UnreadView(TenantAPIView):
    """How many are not read."""

    permissions = {"GET": "notifications.read"}

    @extend_schema(operation_id="notifications_unread", responses=UnreadOutput, tags=["notifications"])
    def get(self, request: Request) -> Response:
        return Response({"unread": inbox.count_unread(caller=principal_of(request))})


class AllReadView(TenantAPIView):
    """All of them, read."""

    permissions = {"POST": "notifications.read"}

    @extend_schema(operation_id="notifications_read_all", request=None, responses=AllReadOutput, tags=["notifications"])
    def post(self, request: Request) -> Response:
        return Response({"read": inbox.mark_all_read(caller=principal_of(request))})


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidRequest(f"{name}: true or false.", details={"param": name})
    return text == "true"
