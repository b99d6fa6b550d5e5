"""Webhooks: the tenant's endpoints, and what was delivered to them."""

import uuid

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from kernel.api.pagination import paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import page_of
from kernel.api.views import TenantAPIView
from kernel.errors import InvalidRequest
from tenants.api.base import principal_of
from tenants.api.webhook_serializers import (
    STATUSES,
    DeliveryOutput,
    EventTypesOutput,
    IssuedWebhookOutput,
    RotateSecretInput,
    WebhookChangesInput,
    WebhookInput,
    WebhookOutput,
    WholeDeliveryOutput,
    delivery_body,
    issued_body,
    webhook_body,
    whole_delivery_body,
)
from tenants.notifications.event_types import EVENT_TYPES
from tenants.webhooks import endpoints
from tenants.webhooks.endpoints import EndpointChanges
from tenants.webhooks.models import WebhookEndpoint

MANAGE = "webhooks.manage"


class WebhooksView(TenantAPIView):
    """The tenant's endpoints."""

    permissions = {"GET": MANAGE, "POST": MANAGE}
    shown_once = ("secret",)

    @extend_schema(
        operation_id="webhooks_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(WebhookOutput(many=True), "WebhookPage"),
        tags=["webhooks"],
    )
    def get(self, request: Request) -> Response:
        found = WebhookEndpoint.objects.all()
        return Response(paginate(request, found, render=webhook_body, descending=True).body())

    @extend_schema(
        operation_id="webhooks_create",
        description="The secret is shown this once.",
        request=WebhookInput,
        responses={201: IssuedWebhookOutput},
        tags=["webhooks"],
    )
    def post(self, request: Request) -> Response:
        given = WebhookInput(data=request.data)
        given.is_valid(raise_exception=True)
        made = endpoints.create_endpoint(caller=principal_of(request), **given.validated_data)
        return Response(issued_body(made), status=status.HTTP_201_CREATED)


class EventTypesView(TenantAPIView):
    """What there is to be told of."""

    permissions = {"GET": MANAGE}

    @extend_schema(operation_id="webhooks_event_types", responses=EventTypesOutput, tags=["webhooks"])
    def get(self, request: Request) -> Response:
        return Response({"data": [{"name": name, "meaning": meaning} for name, meaning in sorted(EVENT_TYPES.items())]})


class WebhookView(TenantAPIView):
    """One endpoint."""

    permissions = {"GET": MANAGE, "PATCH": MANAGE, "DELETE": MANAGE}

    @extend_schema(operation_id="webhooks_get", responses=WebhookOutput, tags=["webhooks"])
    def get(self, request: Request, webhook_id: uuid.UUID) -> Response:
        return Response(webhook_body(endpoints.access_endpoint(endpoint_id=webhook_id)))

    @extend_schema(
        operation_id="webhooks_update", request=WebhookChangesInput, responses=WebhookOutput, tags=["webhooks"]
    )
    def patch(self, request: Request, webhook_id: uuid.UUID) -> Response:
        given = WebhookChangesInput(data=request.data)
        given.is_valid(raise_exception=True)
        changes = EndpointChanges(**given.validated_data)
        row = endpoints.update_endpoint(caller=principal_of(request), endpoint_id=webhook_id, changes=changes)
        return Response(webhook_body(row))

    @extend_schema(operation_id="webhooks_delete", responses={204: None}, tags=["webhooks"])
    def delete(self, request: Request, webhook_id: uuid.UUID) -> Response:
        endpoints.delete_endpoint(caller=principal_of(request), endpoint_id=webhook_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class RotateSecretView(TenantAPIView):
    """A new secret."""

    permissions = {"POST": MANAGE}
    shown_once = ("secret",)

    @extend_schema(
        operation_id="webhooks_rotate_secret",
        description="Until the overlap is over, requests carry a signature by each secret.",
        request=RotateSecretInput,
        responses=IssuedWebhookOutput,
        tags=["webhooks"],
    )
    def post(self, request: Request, webhook_id: uuid.UUID) -> Response:
        given = RotateSecretInput(data=request.data)
        given.is_valid(raise_exception=True)
        made = endpoints.rotate_secret(
            caller=principal_of(request), endpoint_id=webhook_id, overlap_s=given.validated_data["overlap_s"]
        )
        return Response(issued_body(made))


class TestView(TenantAPIView):
    """A test event."""

    permissions = {"POST": MANAGE}

    @extend_schema(operation_id="webhooks_test", request=None, responses={202: DeliveryOutput}, tags=["webhooks"])
    def post(self, request: Request, webhook_id: uuid.UUID) -> Response:
        delivery = endpoints.send_test(caller=principal_of(request), endpoint_id=webhook_id)
        return Response(delivery_body(delivery), status=status.HTTP_202_ACCEPTED)


class DeliveriesView(TenantAPIView):
    """What was sent to an endpoint."""

    permissions = {"GET": MANAGE}

    @extend_schema(
        operation_id="webhooks_deliveries_list",
        description="Newest first. They are kept for 30 days.",
        parameters=[*PAGE_PARAMETERS, OpenApiParameter("status", str, enum=STATUSES, description="Only these.")],
        responses=page_of(DeliveryOutput(many=True), "DeliveryPage"),
        tags=["webhooks"],
    )
    def get(self, request: Request, webhook_id: uuid.UUID) -> Response:
        found = endpoints.deliveries_of(endpoint_id=webhook_id)
        wanted = request.query_params.get("status")
        if wanted is not None:
            if wanted not in STATUSES:
                raise InvalidRequest(f"status: one of {', '.join(STATUSES)}.", details={"param": "status"})
            found = found.filter(status=wanted)
        return Response(paginate(request, found, render=delivery_body, descending=True).body())


class DeliveryView(TenantAPIView):
    """One event for an endpoint."""

    permissions = {"GET": MANAGE}

    @extend_schema(operation_id="webhooks_deliveries_get", responses=WholeDeliveryOutput, tags=["webhooks"])
    def get(self, request: Request, webhook_id: uuid.UUID, delivery_id: uuid.UUID) -> Response:
        row = endpoints.access_delivery(endpoint_id=webhook_id, delivery_id=delivery_id)
        return Response(whole_delivery_body(row, endpoints.log_of(row)))


class ReplayView(TenantAPIView):
    """The same event, again."""

    permissions = {"POST": MANAGE}

    @extend_schema(
        operation_id="webhooks_deliveries_replay",
        description="Sent under the same id, by which its receiver knows it.",
        request=None,
        responses={202: DeliveryOutput},
        tags=["webhooks"],
    )
    def post(self, request: Request, webhook_id: uuid.UUID, delivery_id: uuid.UUID) -> Response:
        row = endpoints.replay_delivery(caller=principal_of(request), endpoint_id=webhook_id, delivery_id=delivery_id)
        return Response(delivery_body(row), status=status.HTTP_202_ACCEPTED)
