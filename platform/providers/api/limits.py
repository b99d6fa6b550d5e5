"""Limits of requests and tokens per minute, in REST."""

import uuid
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from kernel.api.pagination import paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import StrictSerializer, page_of
from kernel.api.views import TenantAPIView
from providers.models import RateLimit
from providers.services import limits
from tenants.api.base import principal_of

_MOST = 1_000_000_000
_SUBJECTS = [subject.value for subject in RateLimit.Subject]


class LimitTermsInput(StrictSerializer):
    """How much is let through. A burst is how much of a minute's amount may come at once."""

    requests_per_minute = serializers.IntegerField(min_value=1, max_value=_MOST, required=False, allow_null=True)
    tokens_per_minute = serializers.IntegerField(min_value=1, max_value=_MOST, required=False, allow_null=True)
    requests_burst_percent = serializers.IntegerField(min_value=1, max_value=1000, required=False)
    tokens_burst_percent = serializers.IntegerField(min_value=1, max_value=1000, required=False)


class LimitInput(LimitTermsInput):
    """A new limit: of the whole tenant, of one key, or of a model (an alias; `*` at its end stands for any rest)."""

    subject = serializers.ChoiceField(_SUBJECTS)
    api_key = serializers.UUIDField(required=False, allow_null=True, default=None)
    model = serializers.CharField(required=False, allow_blank=True, default="", max_length=200)


class LimitOutput(serializers.Serializer[Any]):
    """A limit."""

    id = serializers.UUIDField()
    subject = serializers.ChoiceField(_SUBJECTS)
    api_key = serializers.UUIDField(allow_null=True)
    model = serializers.CharField(allow_null=True)
    requests_per_minute = serializers.IntegerField(allow_null=True)
    tokens_per_minute = serializers.IntegerField(allow_null=True)
    requests_burst_percent = serializers.IntegerField()
    tokens_burst_percent = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class LimitsView(TenantAPIView):
    """The tenant's limits."""

    permissions = {"GET": "limits.manage", "POST": "limits.manage"}

    @extend_schema(
        operation_id="limits_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(LimitOutput(many=True), "LimitPage"),
        tags=["limits"],
    )
    def get(self, request: Request) -> Response:
        return Response(paginate(request, limits.all_limits(), render=_body).body())

    @extend_schema(operation_id="limits_create", request=LimitInput, responses={201: LimitOutput}, tags=["limits"])
    def post(self, request: Request) -> Response:
        given = LimitInput(data=request.data)
        given.is_valid(raise_exception=True)
        said = dict(given.validated_data)
        made = limits.set_limit(
            caller=principal_of(request),
            subject=said.pop("subject"),
            api_key_id=said.pop("api_key"),
            model=said.pop("model"),
            terms=limits.LimitTerms(
                requests_per_minute=said.pop("requests_per_minute", None),
                tokens_per_minute=said.pop("tokens_per_minute", None),
                **said,
            ),
        )
        return Response(_body(made), status=status.HTTP_201_CREATED)


class LimitView(TenantAPIView):
    """One limit."""

    permissions = {"GET": "limits.manage", "PATCH": "limits.manage", "DELETE": "limits.manage"}

    @extend_schema(operation_id="limits_get", responses=LimitOutput, tags=["limits"])
    def get(self, request: Request, limit_id: uuid.UUID) -> Response:
        return Response(_body(limits.access_limit(limit_id=limit_id)))

    @extend_schema(operation_id="limits_update", request=LimitTermsInput, responses=LimitOutput, tags=["limits"])
    def patch(self, request: Request, limit_id: uuid.UUID) -> Response:
        given = LimitTermsInput(data=request.data)
        given.is_valid(raise_exception=True)
        changed = limits.change_limit(
            caller=principal_of(request), limit_id=limit_id, changes=dict(given.validated_data)
        )
        return Response(_body(changed))

    @extend_schema(operation_id="limits_delete", responses={204: None}, tags=["limits"])
    def delete(self, request: Request, limit_id: uuid.UUID) -> Response:
        limits.lift_limit(caller=principal_of(request), limit_id=limit_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _body(limit: RateLimit) -> dict[str, Any]:
    """`LimitOutput`."""
    return {
        "id": str(limit.id),
        "subject": limit.subject,
        "api_key": limit.api_key_id and str(limit.api_key_id),
        "model": limit.model or None,
        "requests_per_minute": limit.requests_per_minute,
        "tokens_per_minute": limit.tokens_per_minute,
        "requests_burst_percent": limit.requests_burst_percent,
        "tokens_burst_percent": limit.tokens_burst_percent,
        "created_at": limit.created_at,
    }
