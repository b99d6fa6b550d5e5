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
from providers.cache.models import MAX_BYTES, MAX_TTL_S, MIN_BYTES, MIN_TTL_S, CacheEntry, CacheNamespace
from providers.services import cache
from providers.services.cache import MAX_WARMED, Snapshot
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


class CacheSettingsOutput(serializers.Serializer[Any]):
    """How answers are kept."""

    enabled = serializers.BooleanField()
    ttl_s = serializers.IntegerField()
    sharing = serializers.ChoiceField(["principal", "group", "tenant"])
    max_bytes = serializers.IntegerField()
    opt_in_all = serializers.BooleanField()
    max_temperature = serializers.FloatField()


class CacheStatsOutput(serializers.Serializer[Any]):
    """What the cache did since counting began, and what the database holds now."""

    since = serializers.IntegerField(allow_null=True, help_text="Seconds since 1970.")
    hits_memory = serializers.IntegerField()
    hits_redis = serializers.IntegerField()
    hits_postgres = serializers.IntegerField()
    hits_dedupe = serializers.IntegerField()
    misses = serializers.IntegerField()
    bypasses = serializers.IntegerField()
    stores = serializers.IntegerField()
    evictions = serializers.IntegerField()
    saved_input_tokens = serializers.IntegerField()
    saved_output_tokens = serializers.IntegerField()
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
    """What to forget: a model's answers, or all."""

    model = serializers.CharField(max_length=200, required=False)
    all = serializers.BooleanField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if bool(attrs.get("all")) == ("model" in attrs):
            raise serializers.ValidationError("Name a `model`, or say `all`: true.")
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
        deleted = cache.invalidate(caller=principal_of(request), model=given.validated_data.get("model"))
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
