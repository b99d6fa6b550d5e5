"""A tenant's routes, the models of its roles, and how the deployments are."""

import uuid
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from kernel.api.pagination import Cursor, paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import page_of
from kernel.api.views import TenantAPIView
from providers.models import Deployment, PlatformDeployment, Route, Strategy
from providers.profiles import CAPABILITIES
from providers.services import routing
from providers.services import status as health
from tenants.api.base import principal_of


class TargetInput(serializers.Serializer[Any]):
    """A deployment to go to; targets are tried in the order given, unless the strategy says otherwise."""

    deployment = serializers.UUIDField()
    weight = serializers.IntegerField(min_value=1, max_value=routing.MAX_WEIGHT, default=1)


class TargetOutput(serializers.Serializer[Any]):
    """A deployment that serves a route."""

    deployment = serializers.UUIDField()
    connection = serializers.CharField()
    provider = serializers.CharField()
    model = serializers.CharField()
    platform = serializers.BooleanField(help_text="The operator's, rather than the tenant's own.")
    weight = serializers.IntegerField()


class RouteOutput(serializers.Serializer[Any]):
    """An alias and what serves it."""

    id = serializers.UUIDField()
    alias = serializers.CharField()
    strategy = serializers.ChoiceField(Strategy.values)
    targets = TargetOutput(many=True)
    fallbacks = serializers.ListField(child=serializers.CharField())
    requires = serializers.ListField(child=serializers.CharField())
    max_output_tokens = serializers.IntegerField(
        allow_null=True, help_text="How long an answer may be where the request doesn't say; null for 4,096."
    )
    created_at = serializers.DateTimeField()


class RouteChange(serializers.Serializer[Any]):
    """What to change of a route. What is left out stays."""

    alias = serializers.CharField(max_length=200, required=False, help_text="With * at its end it is a wildcard.")
    strategy = serializers.ChoiceField(Strategy.values, required=False)
    targets = serializers.ListField(child=TargetInput(), required=False, max_length=routing.MAX_TARGETS)
    fallbacks = serializers.ListField(
        child=serializers.CharField(max_length=200), required=False, max_length=20, help_text="Other aliases."
    )
    requires = serializers.ListField(
        child=serializers.ChoiceField(CAPABILITIES), required=False, max_length=len(CAPABILITIES)
    )
    max_output_tokens = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=routing.MAX_OUTPUT_TOKENS,
        help_text="How long an answer may be where the request doesn't say; null for 4,096.",
    )

    def wish(self) -> routing.RouteWish:
        """The validated input."""
        given = self.validated_data
        targets = given.get("targets")
        return routing.RouteWish(
            alias=given.get("alias"),
            strategy=given.get("strategy"),
            targets=None if targets is None else [routing.Wanted(one["deployment"], one["weight"]) for one in targets],
            fallbacks=given.get("fallbacks"),
            requires=given.get("requires"),
            max_output_tokens=given.get("max_output_tokens", routing.UNCHANGED),
        )


class RouteInput(RouteChange):
    """A route to make."""

    alias = serializers.CharField(max_length=200, help_text="With * at its end it is a wildcard.")


class RoutesView(TenantAPIView):
    """The tenant's own routes. They go before the platform's of the same alias."""

    permissions = {"GET": "providers.manage", "POST": "providers.manage"}

    @extend_schema(
        operation_id="routes_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(RouteOutput(many=True), "RoutePage"),
        tags=["routes"],
    )
    def get(self, request: Request) -> Response:
        page = paginate(request, Route.objects.all(), render=lambda route: route)
        targets = routing.describe_targets(page.data)
        body = {"data": [_body(route, targets[route.id]) for route in page.data], "next_cursor": page.next_cursor}
        return Response(body)

    @extend_schema(operation_id="routes_create", request=RouteInput, responses={201: RouteOutput}, tags=["routes"])
    def post(self, request: Request) -> Response:
        given = RouteInput(data=request.data)
        given.is_valid(raise_exception=True)
        route = routing.create_route(caller=principal_of(request), wish=given.wish())
        return Response(_whole(route), status=status.HTTP_201_CREATED)


class RouteView(TenantAPIView):
    """One route."""

    permissions = {"GET": "providers.manage", "PATCH": "providers.manage", "DELETE": "providers.manage"}

    @extend_schema(operation_id="routes_get", responses=RouteOutput, tags=["routes"])
    def get(self, request: Request, route_id: uuid.UUID) -> Response:
        return Response(_whole(routing.access_route(route_id=route_id)))

    @extend_schema(operation_id="routes_change", request=RouteChange, responses=RouteOutput, tags=["routes"])
    def patch(self, request: Request, route_id: uuid.UUID) -> Response:
        routing.access_route(route_id=route_id)
        given = RouteChange(data=request.data)
        given.is_valid(raise_exception=True)
        return Response(
            _whole(routing.change_route(caller=principal_of(request), route_id=route_id, wish=given.wish()))
        )

    @extend_schema(operation_id="routes_delete", responses={204: None}, tags=["routes"])
    def delete(self, request: Request, route_id: uuid.UUID) -> Response:
        routing.delete_route(caller=principal_of(request), route_id=route_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _whole(route: Route) -> dict[str, Any]:
    return _body(route, routing.describe_targets([route])[route.id])


def _body(route: Route, targets: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": str(route.id),
        "alias": route.alias,
        "strategy": route.strategy,
        "targets": targets,
        "fallbacks": route.fallbacks,
        "requires": route.requires,
        "max_output_tokens": route.max_output_tokens,
        "created_at": route.created_at,
    }


class DeploymentStatus(serializers.Serializer[Any]):
    """A deployment and how it is, as the answering process sees it; breakers and pauses as any process does."""

    id = serializers.UUIDField()
    provider = serializers.CharField()
    connection = serializers.CharField()
    model = serializers.CharField()
    region = serializers.CharField(help_text="Empty where none was given.")
    platform = serializers.BooleanField(help_text="The operator's, rather than the tenant's own.")
    health = serializers.ChoiceField(["healthy", "recovering", "pausing", "misconfigured", "failing"])
    breaker = serializers.ChoiceField(["closed", "open", "half_open", "ramping"])
    in_flight = serializers.IntegerField()
    latency_ms = serializers.FloatField(allow_null=True, help_text="To the first content; smoothed.")
    median_ms = serializers.FloatField(allow_null=True, help_text="To the first content; of the latest 128.")
    last_error = serializers.CharField(allow_null=True, help_text="The class of the latest failure.")
    last_error_at = serializers.DateTimeField(allow_null=True)


class ProvidersStatusOutput(page_of(DeploymentStatus(many=True), "DeploymentStatusPage")):  # type: ignore[misc]
    """The platform's default route, and every deployment that the tenant may use."""

    primary = serializers.CharField(allow_null=True)
    fallbacks = serializers.ListField(child=serializers.CharField())
    current = serializers.CharField(allow_null=True, help_text="The provider that would be asked first now.")


class ProvidersStatusView(TenantAPIView):
    """How the deployments are: the platform's and the tenant's own."""

    permissions = {"GET": "providers.manage"}

    @extend_schema(
        operation_id="providers_status",
        parameters=PAGE_PARAMETERS,
        responses=ProvidersStatusOutput,
        tags=["providers"],
    )
    def get(self, request: Request) -> Response:
        asked = Cursor.of(request)
        after = {} if asked.uuid() is None else {"id__gt": asked.uuid()}
        found: list[Deployment | PlatformDeployment] = []
        for table in (Deployment, PlatformDeployment):
            found += table.objects.filter(**after).select_related("connection").order_by("id")[: asked.limit + 1]
        found.sort(key=lambda one: one.id)
        page = asked.page(found, render=lambda one: one, key=lambda one: str(one.id))
        default = health.default_order()
        words = health.words_of([one.id for one in page.data])
        return Response(
            {
                "primary": default.primary,
                "fallbacks": list(default.fallbacks),
                "current": default.current,
                "data": [health.deployment_body(one, words) for one in page.data],
                "next_cursor": page.next_cursor,
            }
        )


class ModelRolesOutput(serializers.Serializer[Any]):
    """The alias of each role; null where none was chosen."""

    roles = serializers.DictField(child=serializers.CharField(allow_null=True))


class ModelRolesInput(serializers.Serializer[Any]):
    """The roles to change, with their aliases; null takes the choice back."""

    roles = serializers.DictField(child=serializers.CharField(max_length=200, allow_null=True))


class ModelRolesView(TenantAPIView):
    """Which model is used for what, where nobody names one: `default` is that of chats, `default/title` that of titles."""

    permissions = {"GET": "models.use", "PUT": "providers.manage"}

    @extend_schema(operation_id="model_roles_get", responses=ModelRolesOutput, tags=["models"])
    def get(self, request: Request) -> Response:
        return Response({"roles": routing.model_roles()})

    @extend_schema(operation_id="model_roles_set", request=ModelRolesInput, responses=ModelRolesOutput, tags=["models"])
    def put(self, request: Request) -> Response:
        given = ModelRolesInput(data=request.data)
        given.is_valid(raise_exception=True)
        roles = routing.set_model_roles(caller=principal_of(request), roles=given.validated_data["roles"])
        return Response({"roles": roles})
