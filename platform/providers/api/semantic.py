"""The semantic cache of one's tenant: its state, its entries, their export, and who calls an answer wrong."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db.models import OuterRef, Subquery
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from kernel.api.pagination import paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import StrictSerializer, page_of
from kernel.api.streams import download
from kernel.api.views import TenantAPIView
from kernel.errors import InvalidRequest
from kernel.tenancy import current_tenant_id
from providers.cache.semantic.export import export
from providers.cache.semantic.models import SemanticEntry, SemanticUse
from providers.services import cache, semantic
from providers.services.semantic import MAX_WARMED
from tenants.api.base import principal_of
from tenants.services.audit import record

MANAGE = "providers.manage"
CONTENT_TYPES = {"json": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


class AuditsOutput(serializers.Serializer[Any]):
    """What audits found since they last had a consequence."""

    count = serializers.IntegerField()
    wrong = serializers.IntegerField()
    rate = serializers.FloatField(allow_null=True)
    low = serializers.FloatField(help_text="The true rate is certainly (95 %) not below this …")
    high = serializers.FloatField(help_text="… nor above this.")


class CutOutput(serializers.Serializer[Any]):
    """A part of the certificate for the rate in force."""

    stratum = serializers.CharField(allow_blank=True, help_text="For which kind of neighbourhood of entries.")
    rate = serializers.FloatField()
    cut = serializers.FloatField(help_text="The score from which an answer is served.")
    questions = serializers.IntegerField()
    served = serializers.IntegerField()
    wrong = serializers.IntegerField()
    upper_bound = serializers.FloatField()


class CalibrationOutput(serializers.Serializer[Any]):
    """Where the score's weights and its cuts come from."""

    version = serializers.CharField()
    embedder = serializers.CharField()
    measured_on = serializers.CharField()


class SemanticOutput(serializers.Serializer[Any]):
    """The semantic cache as it is now."""

    enabled = serializers.BooleanField()
    problem = serializers.CharField(
        allow_blank=True, help_text="Why it can't work, was switched off, or made stricter."
    )
    rate = serializers.FloatField(help_text="The stated one.")
    effective_rate = serializers.FloatField(help_text="What hits are held to, after audits made it stricter.")
    entries = serializers.IntegerField()
    bytes = serializers.IntegerField()
    confirmed = serializers.IntegerField()
    audits = AuditsOutput()
    calibration = CalibrationOutput()
    certificate = CutOutput(many=True)


class SemanticEntryOutput(serializers.Serializer[Any]):
    """An answer that is kept for questions in other words, without its text."""

    id = serializers.UUIDField()
    model = serializers.CharField()
    bytes = serializers.IntegerField()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cost_nano = serializers.IntegerField()
    hits = serializers.IntegerField()
    wrong = serializers.IntegerField(help_text="How often it was called wrong; then it is served no more.")
    confirmed = serializers.BooleanField(help_text="Another member's own answer was the same.")
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class SemanticWarmUpInput(StrictSerializer):
    """How many captured requests to make entries of."""

    limit = serializers.IntegerField(required=False, default=MAX_WARMED, min_value=1, max_value=MAX_WARMED)


class SemanticWarmedOutput(serializers.Serializer[Any]):
    """How many entries were made."""

    warmed = serializers.IntegerField()


class SemanticView(TenantAPIView):
    """Its state; its settings are the cache's."""

    permissions = {"GET": MANAGE}

    @extend_schema(operation_id="cache_semantic", responses=SemanticOutput, tags=["cache"])
    def get(self, request: Request) -> Response:
        row = cache.settings_now()
        state = semantic.state_of(row)
        audits = state.audits
        return Response(
            {
                "enabled": row.enabled and row.semantic,
                "problem": state.problem,
                "rate": row.semantic_rate,
                "effective_rate": state.rate,
                "entries": state.entries,
                "bytes": state.size,
                "confirmed": state.confirmed,
                "audits": {name: getattr(audits, name) for name in ("count", "wrong", "rate", "low", "high")},
                "calibration": state.calibration,
                "certificate": state.certificate,
            }
        )


class SemanticEntriesView(TenantAPIView):
    """Its entries, newest first."""

    permissions = {"GET": MANAGE}

    @extend_schema(
        operation_id="cache_semantic_entries_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(SemanticEntryOutput(many=True), "SemanticEntryPage"),
        tags=["cache"],
    )
    def get(self, request: Request) -> Response:
        used = SemanticUse.objects.filter(entry_id=OuterRef("id")).values("hits")[:1]
        entries = SemanticEntry.objects.defer("embedding", "answer_embedding", "question", "body").annotate(
            hits=Subquery(used)
        )
        return Response(paginate(request, entries, render=_entry, descending=True).body())


class ExportView(TenantAPIView):
    """All of them as a file."""

    permissions = {"GET": MANAGE}

    @extend_schema(
        operation_id="cache_semantic_export",
        parameters=[OpenApiParameter("form", str, enum=["json", "csv"], default="json")],
        responses={
            (200, "application/x-ndjson"): OpenApiTypes.STR,
            (200, "text/csv"): OpenApiTypes.STR,
        },
        tags=["cache"],
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        form = request.query_params.get("form", "json")
        if form not in CONTENT_TYPES:
            raise InvalidRequest("form: `json` or `csv` is needed.", details={"param": "form"})
        caller = principal_of(request)
        record(action="cache.exported", subject_kind="cache", subject_id=caller.tenant_id, actor=caller)
        chunks = export(current_tenant_id(), "csv" if form == "csv" else "json")
        return download(request, chunks, content_type=CONTENT_TYPES[form], filename=f"cache.{form}")


class SemanticWarmUpView(TenantAPIView):
    """Make entries of what was captured of past requests."""

    permissions = {"POST": MANAGE}

    @extend_schema(
        operation_id="cache_semantic_warm_up",
        request=SemanticWarmUpInput,
        responses=SemanticWarmedOutput,
        tags=["cache"],
    )
    def post(self, request: Request) -> Response:
        given = SemanticWarmUpInput(data=request.data)
        given.is_valid(raise_exception=True)
        row = cache.settings_now()
        return Response({"warmed": semantic.warm_up(row, limit=given.validated_data["limit"])})


class WrongView(TenantAPIView):
    """Say that an answer from the semantic cache was wrong. For whoever may be served one."""

    permissions = {"POST": "models.use"}

    @extend_schema(operation_id="cache_entries_wrong", request=None, responses={204: None}, tags=["cache"])
    def post(self, request: Request, entry_id: uuid.UUID) -> Response:
        semantic.report_wrong(entry_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _entry(entry: Any) -> Mapping[str, Any]:
    return {
        "id": entry.id,
        "model": entry.alias,
        "bytes": entry.size,
        "input_tokens": entry.input_tokens,
        "output_tokens": entry.output_tokens,
        "cost_nano": entry.cost_nano,
        "hits": entry.hits or 0,
        "wrong": entry.wrong,
        "confirmed": entry.confirmed,
        "created_at": entry.created_at,
        "expires_at": entry.expires_at,
    }
