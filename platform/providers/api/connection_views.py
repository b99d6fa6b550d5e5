"""A tenant's own connections, and the models on them."""

import uuid

from asgiref.sync import async_to_sync
from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from kernel.api.pagination import Page, paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import page_of
from kernel.api.views import TenantAPIView, without_transaction
from providers.api.connection_serializers import (
    ConnectionInput,
    ConnectionOutput,
    ConnectionUpdateInput,
    DeploymentInput,
    DeploymentOutput,
    DeploymentUpdateInput,
    PublishedModelsOutput,
    TrialInput,
    TrialOutput,
    connection_body,
    deployment_body,
    published_body,
    trial_body,
)
from providers.models import Connection, Deployment
from providers.services import own_connections, own_deployments, trial
from providers.services.own_connections import Changes
from providers.services.published import keep_published
from tenants.api.base import principal_of

MANAGE = "connections.manage"


class ConnectionsView(TenantAPIView):
    """The tenant's own connections."""

    permissions = {"GET": MANAGE, "POST": MANAGE}

    @extend_schema(
        operation_id="connections_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(ConnectionOutput(many=True), "ConnectionPage"),
        tags=["connections"],
    )
    def get(self, request: Request) -> Response:
        return Response(paginate(request, Connection.objects.all(), render=connection_body, descending=True).body())

    @extend_schema(
        operation_id="connections_create",
        request=ConnectionInput,
        responses={201: ConnectionOutput},
        tags=["connections"],
    )
    def post(self, request: Request) -> Response:
        given = ConnectionInput(data=request.data)
        given.is_valid(raise_exception=True)
        row = own_connections.create_connection(caller=principal_of(request), **given.validated_data)
        return Response(connection_body(row), status=status.HTTP_201_CREATED)


class ConnectionView(TenantAPIView):
    """One connection."""

    permissions = {"GET": MANAGE, "PATCH": MANAGE, "DELETE": MANAGE}

    @extend_schema(operation_id="connections_get", responses=ConnectionOutput, tags=["connections"])
    def get(self, request: Request, connection_id: uuid.UUID) -> Response:
        return Response(connection_body(own_connections.access_connection(connection_id=connection_id)))

    @extend_schema(
        operation_id="connections_update",
        description="Another address or kind needs the secret again.",
        request=ConnectionUpdateInput,
        responses=ConnectionOutput,
        tags=["connections"],
    )
    def patch(self, request: Request, connection_id: uuid.UUID) -> Response:
        given = ConnectionUpdateInput(data=request.data)
        given.is_valid(raise_exception=True)
        row = own_connections.update_connection(
            caller=principal_of(request), connection_id=connection_id, changes=Changes(**given.validated_data)
        )
        return Response(connection_body(row))

    @extend_schema(operation_id="connections_delete", responses={204: None}, tags=["connections"])
    def delete(self, request: Request, connection_id: uuid.UUID) -> Response:
        own_connections.delete_connection(caller=principal_of(request), connection_id=connection_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ConnectionTestView(TenantAPIView):
    """A small call to a connection's provider."""

    permissions = {"POST": MANAGE}

    @extend_schema(
        operation_id="connections_test",
        description="Asks the provider for its models, or a named model for one token. Takes 20 s at most. Keeps the list.",
        request=TrialInput,
        responses=TrialOutput,
        tags=["connections"],
    )
    @without_transaction
    def post(self, request: Request, connection_id: uuid.UUID) -> Response:
        given = TrialInput(data=request.data)
        given.is_valid(raise_exception=True)
        with transaction.atomic():
            target = trial.begin_trial(
                caller=principal_of(request), connection_id=connection_id, model=given.validated_data.get("model")
            )
        made = async_to_sync(trial.make_trial)(target)
        if made.published is not None:
            keep_published(connection_id=connection_id, target=target, models=made.published)
        return Response(trial_body(made))


class PublishedModelsView(TenantAPIView):
    """What a connection's provider serves."""

    permissions = {"GET": MANAGE}

    @extend_schema(
        operation_id="connections_models",
        description="What the provider said last: 1,000 models at most. It is asked every hour, and by each test.",
        responses=PublishedModelsOutput,
        tags=["connections"],
    )
    def get(self, request: Request, connection_id: uuid.UUID) -> Response:
        return Response(published_body(own_connections.access_connection(connection_id=connection_id)))


class DeploymentsView(TenantAPIView):
    """The models on a connection."""

    permissions = {"GET": MANAGE, "POST": MANAGE}

    @extend_schema(
        operation_id="connections_deployments_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(DeploymentOutput(many=True), "DeploymentPage"),
        tags=["connections"],
    )
    def get(self, request: Request, connection_id: uuid.UUID) -> Response:
        connection = own_connections.access_connection(connection_id=connection_id)
        page = paginate(request, Deployment.objects.filter(connection=connection), render=_as_it_is)
        aliases = own_deployments.aliases_of(page.data)
        return Response(Page([deployment_body(row, aliases[row.id]) for row in page.data], page.next_cursor).body())

    @extend_schema(
        operation_id="connections_deployments_create",
        description="Prices are zero unless given: tokens are counted, and nothing is charged.",
        request=DeploymentInput,
        responses={201: DeploymentOutput},
        tags=["connections"],
    )
    def post(self, request: Request, connection_id: uuid.UUID) -> Response:
        given = DeploymentInput(data=request.data)
        given.is_valid(raise_exception=True)
        row = own_deployments.create_deployment(
            caller=principal_of(request), connection_id=connection_id, **given.validated_data
        )
        body = deployment_body(row, own_deployments.aliases_of([row])[row.id])
        return Response(body, status=status.HTTP_201_CREATED)


class DeploymentView(TenantAPIView):
    """One model on a connection."""

    permissions = {"PATCH": MANAGE, "DELETE": MANAGE}

    @extend_schema(
        operation_id="connections_deployments_update",
        request=DeploymentUpdateInput,
        responses=DeploymentOutput,
        tags=["connections"],
    )
    def patch(self, request: Request, connection_id: uuid.UUID, deployment_id: uuid.UUID) -> Response:
        given = DeploymentUpdateInput(data=request.data)
        given.is_valid(raise_exception=True)
        row = own_deployments.change_deployment(
            caller=principal_of(request),
            connection_id=connection_id,
            deployment_id=deployment_id,
            **given.validated_data,
        )
        return Response(deployment_body(row, own_deployments.aliases_of([row])[row.id]))

    @extend_schema(operation_id="connections_deployments_delete", responses={204: None}, tags=["connections"])
    def delete(self, request: Request, connection_id: uuid.UUID, deployment_id: uuid.UUID) -> Response:
        own_deployments.delete_deployment(
            caller=principal_of(request), connection_id=connection_id, deployment_id=deployment_id
        )
        return Response(status=status.HTTP_204_NO_CONTENT)


def _as_it_is(row: Deployment) -> Deployment:
    return row
