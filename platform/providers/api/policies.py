"""Guardrails and the log of requests."""

import json
import uuid
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.types import METERS
from kernel.api.pagination import Cursor
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import page_of
from kernel.api.views import TenantAPIView
from kernel.errors import NotFound
from providers.guardrails.rules import MAX_EXPRESSION_CHARS, MAX_NAME_CHARS
from providers.models import GatewayPolicy
from providers.requests.record import read_content
from providers.requests.selectors import LAST_ID, LoggedRequest, find_request, list_requests
from providers.services.policies import change_policy, policy_in_force
from tenants.api.base import principal_of
from tenants.services.audit import record as audit


class DenyRuleBody(serializers.Serializer[Any]):
    """What is refused. Callers are told the name, never the expression."""

    name = serializers.CharField(max_length=MAX_NAME_CHARS)
    expression = serializers.CharField(max_length=MAX_EXPRESSION_CHARS, trim_whitespace=False, help_text="RE2's syntax")


class PolicyBody(serializers.Serializer[Any]):
    """A tenant's rules for what goes through its models."""

    deny = serializers.ListField(child=DenyRuleBody())
    allow = serializers.ListField(
        child=serializers.CharField(max_length=MAX_EXPRESSION_CHARS, trim_whitespace=False),
        help_text="What a deny rule finds inside of these is forgiven.",
    )
    mask_secrets = serializers.BooleanField(help_text="Keys, tokens and private keys in answers are replaced.")
    mask_cards = serializers.BooleanField(help_text="Card numbers in answers are replaced.")
    mask_input = serializers.BooleanField(help_text="The same before a request goes to a provider.")
    capture = serializers.BooleanField(help_text="Keep what requests to /v1 and their answers say, encrypted.")
    capture_days = serializers.IntegerField(min_value=1, max_value=90)


POLICY_FIELDS = ("deny", "allow", "mask_secrets", "mask_cards", "mask_input", "capture", "capture_days")


def _policy_body(policy: GatewayPolicy) -> dict[str, Any]:
    return {name: getattr(policy, name) for name in POLICY_FIELDS}


class GuardrailsView(TenantAPIView):
    """The tenant's rules."""

    permissions = {"GET": "providers.manage", "PATCH": "providers.manage"}

    @extend_schema(operation_id="guardrails_read", responses=PolicyBody, tags=["guardrails"])
    def get(self, request: Request) -> Response:
        return Response(_policy_body(policy_in_force()))

    @extend_schema(
        operation_id="guardrails_change", request=PolicyBody(partial=True), responses=PolicyBody, tags=["guardrails"]
    )
    def patch(self, request: Request) -> Response:
        body = PolicyBody(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        return Response(_policy_body(change_policy(actor=principal_of(request), changes=body.validated_data)))


class AttemptOutput(serializers.Serializer[Any]):
    """One attempt at a provider."""

    number = serializers.IntegerField()
    provider = serializers.CharField()
    connection = serializers.CharField()
    model = serializers.CharField()
    status = serializers.CharField()
    error_code = serializers.CharField(allow_null=True)
    started_at = serializers.DateTimeField()
    ttft_ms = serializers.IntegerField(allow_null=True)
    latency_ms = serializers.IntegerField()
    tokens = serializers.DictField(child=serializers.IntegerField())
    cost_nano = serializers.IntegerField()


class LoggedRequestOutput(serializers.Serializer[Any]):
    """How a request went."""

    id = serializers.UUIDField(help_text="as in the header x-request-id")
    at = serializers.DateTimeField()
    alias = serializers.CharField()
    surface = serializers.CharField(allow_null=True, help_text="the API it came by, where that was written down")
    member = serializers.UUIDField()
    api_key = serializers.UUIDField(allow_null=True)
    room = serializers.UUIDField(allow_null=True)
    outcome = serializers.ChoiceField(["complete", "stopped", "failed", "interrupted", "refused"])
    error_code = serializers.CharField(allow_null=True)
    cache = serializers.CharField(allow_null=True)
    latency_ms = serializers.IntegerField()
    cost_nano = serializers.IntegerField(help_text="What is charged in all, in nano-USD.")
    attempts = AttemptOutput(many=True)
    has_content = serializers.BooleanField()


class RequestDetailOutput(LoggedRequestOutput):
    """The same, with what was said where that was captured and the caller may see it."""

    content = serializers.DictField(allow_null=True, help_text="{request, answer}")


def _request_body(logged: LoggedRequest) -> dict[str, Any]:
    row, attempts = logged.row, logged.attempts
    last = attempts[-1] if attempts else None
    known: Any = last or row
    if last is not None:
        latency_ms = max(0, round((last.at - attempts[0].at).total_seconds() * 1000)) + last.latency_ms
    else:
        latency_ms = row.latency_ms if row else 0
    return {
        "id": str(logged.id),
        "at": attempts[0].at if attempts else known.at,
        "alias": known.alias,
        "surface": row.surface if row else None,
        "member": str(known.membership_id),
        "api_key": str(known.api_key_id) if known.api_key_id else None,
        "room": str(last.subject_id) if last and last.subject_kind == "room" else None,
        "outcome": last.status if last else "refused",
        "error_code": last.error_code if last else known.error_code,
        "cache": last.cache if last else None,
        "latency_ms": latency_ms,
        "cost_nano": sum(attempt.sell_nano for attempt in attempts),
        "attempts": [
            {
                "number": attempt.attempt,
                "provider": attempt.provider,
                "connection": attempt.connection,
                "model": attempt.model,
                "status": attempt.status,
                "error_code": attempt.error_code,
                "started_at": attempt.at,
                "ttft_ms": attempt.ttft_ms,
                "latency_ms": attempt.latency_ms,
                "tokens": {meter: getattr(attempt, meter) for meter in METERS},
                "cost_nano": attempt.sell_nano,
            }
            for attempt in attempts
        ],
        "has_content": bool(row and row.content),
    }


class RequestsView(TenantAPIView):
    """The tenant's requests, newest first."""

    permissions = {"GET": "requests.read"}

    @extend_schema(
        operation_id="requests_list",
        parameters=[*PAGE_PARAMETERS, OpenApiParameter("alias", str, description="only those for this model")],
        responses=page_of(LoggedRequestOutput(many=True), "RequestsPage"),
        tags=["requests"],
    )
    def get(self, request: Request) -> Response:
        page = Cursor.of(request)
        before = page.uuid() or LAST_ID
        alias = request.query_params.get("alias")
        found = list_requests(
            before=before, limit=page.limit + 1, alias=alias if alias and "\x00" not in alias else None
        )
        return Response(page.page(found, render=_request_body, key=lambda logged: str(logged.id)).body())


class RequestView(TenantAPIView):
    """One request."""

    permissions = {"GET": "requests.read"}

    @extend_schema(operation_id="requests_retrieve", responses=RequestDetailOutput, tags=["requests"])
    def get(self, request: Request, request_id: uuid.UUID) -> Response:
        logged = find_request(request_id)
        if logged is None:
            raise NotFound
        caller = principal_of(request)
        content = None
        if logged.row is not None and logged.row.content and caller.may("requests.content"):
            said = read_content(bytes(logged.row.content), tenant_id=caller.tenant_id, request_id=logged.id)
            content = json.loads(said)
            audit(action="request.content_read", subject_kind="request", subject_id=logged.id, actor=caller)
        return Response(_request_body(logged) | {"content": content})
