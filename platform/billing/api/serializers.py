"""The shapes of billing in REST."""

from typing import Any

from rest_framework import serializers

from billing.models import UsageRecord
from billing.types import METERS


class UsageRecordOutput(serializers.Serializer[Any]):
    """One attempt at a provider: tokens by disjoint meters, and money in integer nano-USD."""

    id = serializers.UUIDField()
    request_id = serializers.UUIDField()
    attempt = serializers.IntegerField()
    kind = serializers.CharField()
    at = serializers.DateTimeField()
    status = serializers.ChoiceField(["complete", "stopped", "failed", "interrupted"])
    member = serializers.UUIDField()
    api_key = serializers.UUIDField(allow_null=True)
    room = serializers.UUIDField(allow_null=True)
    alias = serializers.CharField()
    provider = serializers.CharField()
    connection = serializers.CharField()
    model = serializers.CharField()
    tokens = serializers.DictField(child=serializers.IntegerField())
    cost_nano = serializers.IntegerField(help_text="What is charged, in nano-USD.")
    uncharged_nano = serializers.IntegerField(
        help_text="What the price list says beyond that and is not charged: for attempts that failed unseen, and what passed "
        "a budget's hold. In nano-USD."
    )
    estimated = serializers.BooleanField(help_text="The provider did not say what was used.")
    streamed = serializers.BooleanField()
    latency_ms = serializers.IntegerField()
    ttft_ms = serializers.IntegerField(allow_null=True)
    finish_reason = serializers.CharField(allow_null=True)
    error_code = serializers.CharField(allow_null=True)


def usage_record_body(record: UsageRecord) -> dict[str, Any]:
    """`UsageRecordOutput`."""
    return {
        "id": str(record.id),
        "request_id": str(record.request_id),
        "attempt": record.attempt,
        "kind": record.kind,
        "at": record.at,
        "status": record.status,
        "member": str(record.membership_id),
        "api_key": str(record.api_key_id) if record.api_key_id else None,
        "room": str(record.subject_id) if record.subject_kind == "room" else None,
        "alias": record.alias,
        "provider": record.provider,
        "connection": record.connection,
        "model": record.model,
        "tokens": {meter: getattr(record, meter) for meter in METERS},
        "cost_nano": record.sell_nano,
        "uncharged_nano": record.loss_nano,
        "estimated": record.estimated,
        "streamed": record.streamed,
        "latency_ms": record.latency_ms,
        "ttft_ms": record.ttft_ms,
        "finish_reason": record.finish_reason,
        "error_code": record.error_code,
    }
