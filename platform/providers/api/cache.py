"""The exact cache of one's tenant."""

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
from providers.cache.models import (
    EMBEDDER_CHARS_MAX,
    MAX_BYTES,
    MAX_ENTRIES,
    MAX_RATE,
    MAX_TTL_S,
    MIN_BYTES,
    MIN_ENTRIES,
    MIN_RATE,
    MIN_TTL_S,
    CacheEntry,
    CacheNamespace,
)
from providers.services import cache
from providers.services.cache import MAX_WARMED, Snapshot
from providers.services.semantic import MAX_PREFIX_CHARS
from tenants.api.base import principal_of

MANAGE = "providers.manage"


class CacheSettingsInput(StrictSerializer):
    """What is to change."""

    enabled = serializers.BooleanField(required=False)
    ttl_s = serializers.IntegerField(
        required=False, min_value=MIN_TTL_S, max_value=MAX_TTL_S, help_text="How long an answer is kept, in seconds."
    )
    sharing = serializers.ChoiceField(
        ["principal", "group", "tenant"], required=False, help_text="Among whom an answer is shared."
    )
    max_bytes = serializers.IntegerField(
        required=False, min_value=MIN_BYTES, max_value=MAX_BYTES, help_text="What is kept in the database, at most."
    )
    opt_in_all = serializers.BooleanField(required=False, help_text="Every request may be answered from the cache.")
    max_temperature = serializers.FloatField(
        required=False, min_value=0, max_value=2, help_text="Requests that say a temperature up to this are cached."
    )
    semantic = serializers.BooleanField(required=False, help_text="Answer questions in other words, too.")
    semantic_rate = serializers.FloatField(
        required=False, min_value=MIN_RATE, max_value=MAX_RATE, help_text="How often a semantic hit may be wrong."
    )
    semantic_ttl_s = serializers.IntegerField(required=False, min_value=MIN_TTL_S, max_value=MAX_TTL_S)
    semantic_audit_share = serializers.FloatField(
        required=False, min_value=0, max_value=1, help_text="Of what could be served, how much is asked anyway."
    )
    semantic_max_entries = serializers.IntegerField(required=False, min_value=MIN_ENTRIES, max_value=MAX_ENTRIES)
    semantic_embedder = serializers.CharField(required=False, max_length=EMBEDDER_CHARS_MAX)


class CacheSettingsOutput(serializers.Serializer[Any]):
    """How answers are kept."""

    enabled = serializers.BooleanField()
    ttl_s = serializers.IntegerField()
    sharing = serializers.ChoiceField(["principal", "group", "tenant"])
    max_bytes = serializers.IntegerField()
    opt_in_all = serializers.BooleanField()
    max_temperature = serializers.FloatField()
    semantic = serializers.BooleanField()
    semantic_rate = serializers.FloatField()
    semantic_ttl_s = serializers.IntegerField()
    semantic_audit_share = serializers.FloatField()
    semantic_max_entries = serializers.IntegerField()
    semantic_embedder = serializers.CharField()


class CacheStatsOutput(serializers.Serializer[Any]):
    """What the cache did since counting began, and what the database holds now."""

    since = serializers.IntegerField(allow_null=True, help_text="Seconds since 1970.")
    hits_memory = serializers.IntegerField()
    hits_redis = serializers.IntegerField()
    hits_postgres = serializers.IntegerField()
    hits_dedupe = serializers.IntegerField()
    hits_semantic = serializers.IntegerField(help_text="Questions in other words.")
    misses = serializers.IntegerField()
    bypasses = serializers.IntegerField()
    stores = serializers.IntegerField()
    evictions = serializers.IntegerField()
    saved_input_tokens = serializers.IntegerField()
    saved_output_tokens = serializers.IntegerField()
    saved_nano = serializers.IntegerField(help_text="What the hits would have cost.")
    semantic_lookups = serializers.IntegerField()
    semantic_lookup_us = serializers.IntegerField(help_text="What they took in all, in microseconds.")
    semantic_slow = serializers.IntegerField(help_text="Those that took longer than 15 ms.")
    semantic_timeouts = serializers.IntegerField()
    semantic_ineligible = serializers.IntegerField()
    semantic_unconfirmed = serializers.IntegerField(help_text="Would have been another member's, not confirmed yet.")
    semantic_confirmed = serializers.IntegerField()
    semantic_stores = serializers.IntegerField()
    semantic_dropped = serializers.IntegerField(help_text="Not kept, because too many waited.")
    semantic_audits = serializers.IntegerField()
    semantic_audits_wrong = serializers.IntegerField()
    semantic_reports = serializers.IntegerField(help_text="Answers that somebody called wrong.")
    entries = serializers.IntegerField()
    bytes = serializers.IntegerField()


class CacheEntryOutput(serializers.Serializer[Any]):
    """An answer that is kept, without its text."""

    id = serializers.UUIDField()
    model = serializers.CharField()
    bytes = serializers.IntegerField()
    tokens = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class InvalidateInput(StrictSerializer):
    """What to forget: a model's answers, those to questions that begin so, or all."""

    model = serializers.CharField(max_length=200, required=False)
    prefix = serializers.CharField(max_length=MAX_PREFIX_CHARS, required=False)
    all = serializers.BooleanField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if bool(attrs.get("all")) + ("model" in attrs) + ("prefix" in attrs) != 1:
            raise serializers.ValidationError("Name a `model` or a `prefix`, or say `all`: true.")
        return attrs


class InvalidatedOutput(serializers.Serializer[Any]):
    """How many answers the database held."""

    deleted = serializers.IntegerField()


class WarmUpInput(StrictSerializer):
    """How much to bring to Redis."""

    limit = serializers.IntegerField(required=False, default=MAX_WARMED, min_value=1, max_value=MAX_WARMED)


class WarmedOutput(serializers.Serializer[Any]):
    """How many answers Redis was given."""

    warmed = serializers.IntegerField()


class CacheView(TenantAPIView):
    """The settings."""

    permissions = {"GET": MANAGE, "PATCH": MANAGE}

    @extend_schema(operation_id="cache_get", responses=CacheSettingsOutput, tags=["cache"])
    def get(self, request: Request) -> Response:
        return Response(_settings(cache.settings_now()))

    @extend_schema(
        operation_id="cache_update", request=CacheSettingsInput, responses=CacheSettingsOutput, tags=["cache"]
    )
    def patch(self, request: Request) -> Response:
        given = CacheSettingsInput(data=request.data)
        given.is_valid(raise_exception=True)
        return Response(_settings(cache.change_settings(caller=principal_of(request), changes=given.validated_data)))


class CacheStatsView(TenantAPIView):
    """The counters."""

    permissions = {"GET": MANAGE}

    @extend_schema(operation_id="cache_stats", responses=CacheStatsOutput, tags=["cache"])
    def get(self, request: Request) -> Response:
        return Response(_stats(cache.snapshot()))


class CacheStatsResetView(TenantAPIView):
    """Begin to count anew; answers what was counted until now."""

    permissions = {"POST": MANAGE}

    @extend_schema(operation_id="cache_stats_reset", request=None, responses=CacheStatsOutput, tags=["cache"])
    def post(self, request: Request) -> Response:
        return Response(_stats(cache.reset()))


class CacheInvalidateView(TenantAPIView):
    """Forget answers."""

    permissions = {"POST": MANAGE}

    @extend_schema(
        operation_id="cache_invalidate", request=InvalidateInput, responses=InvalidatedOutput, tags=["cache"]
    )
    def post(self, request: Request) -> Response:
        given = InvalidateInput(data=request.data)
        given.is_valid(raise_exception=True)
        caller, wanted = principal_of(request), given.validated_data
        if "prefix" in wanted:
            deleted = cache.invalidate_prefix(caller=caller, prefix=wanted["prefix"])
        else:
            deleted = cache.invalidate(caller=caller, model=wanted.get("model"))
        return Response({"deleted": deleted})


class CacheWarmUpView(TenantAPIView):
    """Bring what the database holds to Redis."""

    permissions = {"POST": MANAGE}

    @extend_schema(operation_id="cache_warm_up", request=WarmUpInput, responses=WarmedOutput, tags=["cache"])
    def post(self, request: Request) -> Response:
        given = WarmUpInput(data=request.data)
        given.is_valid(raise_exception=True)
        return Response({"warmed": cache.warm_up(limit=given.validated_data["limit"])})


class CacheEntriesView(TenantAPIView):
    """The answers that the database keeps, newest first."""

    permissions = {"GET": MANAGE}

    @extend_schema(
        operation_id="cache_entries_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(CacheEntryOutput(many=True), "CacheEntryPage"),
        tags=["cache"],
    )
    def get(self, request: Request) -> Response:
        entries = CacheEntry.objects.defer("body")
        return Response(paginate(request, entries, render=_entry, descending=True).body())


class CacheEntryView(TenantAPIView):
    """One of them."""

    permissions = {"DELETE": MANAGE}

    @extend_schema(operation_id="cache_entries_delete", responses={204: None}, tags=["cache"])
    def delete(self, request: Request, entry_id: uuid.UUID) -> Response:
        cache.delete_entry(caller=principal_of(request), entry_id=entry_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _settings(row: CacheNamespace) -> dict[str, Any]:
    return {
        "enabled": row.enabled,
        "ttl_s": row.ttl_s,
        "sharing": row.sharing,
        "max_bytes": row.max_bytes,
        "opt_in_all": row.opt_in_all,
        "max_temperature": row.max_temperature,
        "semantic": row.semantic,
        "semantic_rate": row.semantic_rate,
        "semantic_ttl_s": row.semantic_ttl_s,
        "semantic_audit_share": row.semantic_audit_share,
        "semantic_max_entries": row.semantic_max_entries,
        "semantic_embedder": row.semantic_embedder,
    }


def _stats(snapshot: Snapshot) -> dict[str, Any]:
    return {"since": snapshot.since, **snapshot.counters, "entries": snapshot.entries, "bytes": snapshot.size}


def _entry(entry: CacheEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "model": entry.alias,
        "bytes": entry.size,
        "tokens": entry.tokens,
        "created_at": entry.created_at,
        "expires_at": entry.expires_at,
    }
