"""The shapes of reports in REST."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from billing.api.serializers import UsageRecordOutput
from billing.types import METERS


class SumsOutput(serializers.Serializer[Any]):
    """Sums of usage. Money in integer nano-USD."""

    attempts = serializers.IntegerField(help_text="At providers, or answers from the cache.")
    requests = serializers.IntegerField(help_text="Counted where their first attempt is.")
    estimated = serializers.IntegerField(help_text="Attempts of which the provider did not say what was used.")
    tokens = serializers.DictField(child=serializers.IntegerField(), help_text="By disjoint meters.")
    charged_nano = serializers.IntegerField(help_text="What is charged.")
    uncharged_nano = serializers.IntegerField(help_text="What the price list says beyond that and is not charged.")
    provider_cost_nano = serializers.IntegerField(
        allow_null=True, help_text="What providers charge for it; null without `costs.read`."
    )
    latency_ms = serializers.IntegerField(help_text="Of all attempts together.")


class ReportRowOutput(SumsOutput):
    """The sums of one interval and one of each dimension."""

    start = serializers.DateTimeField(help_text="When the interval begins in the tenant's time zone.")
    by = serializers.DictField(
        child=serializers.CharField(allow_null=True), help_text="The dimensions' values; null for none."
    )
    names = serializers.DictField(child=serializers.CharField(), help_text="Names of the ids in `by`, where known.")


class _UsageReport(serializers.Serializer[Any]):
    """A page of a report. The range is widened to whole quarters of an hour."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    time_zone = serializers.CharField()
    interval = serializers.ChoiceField(["hour", "day", "month"], allow_null=True)
    group_by = serializers.ListField(child=serializers.CharField())
    totals = SumsOutput(
        allow_null=True, help_text="Of the whole range, on the first page. Who is in several groups counts once here."
    )
    next_cursor = serializers.CharField(allow_null=True)


class _Top(serializers.Serializer[Any]):
    """Who, or what, was charged most."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    by = serializers.CharField()
    totals = SumsOutput()


class ForecastOutput(serializers.Serializer[Any]):
    """What the month will come to, in nano-USD."""

    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField()
    so_far_nano = serializers.IntegerField()
    expected_nano = serializers.IntegerField(allow_null=True, help_text="Null when there is too little to go by.")
    low_nano = serializers.IntegerField(allow_null=True, help_text="One outcome of ten is lower.")
    high_nano = serializers.IntegerField(allow_null=True, help_text="One outcome of ten is higher.")
    method = serializers.ChoiceField(["weekdays", "daily_mean", "too_little_history"])
    days = serializers.IntegerField(help_text="Whole days that it goes by.")


class AnomalyOutput(serializers.Serializer[Any]):
    """An hour unlike the same hours before."""

    start = serializers.DateTimeField()
    of = serializers.CharField(help_text="Of what `by` names; empty for the whole tenant.")
    name = serializers.CharField(allow_null=True)
    charged_nano = serializers.IntegerField()
    usual_nano = serializers.IntegerField(help_text="The median of the same hours in the four weeks before.")
    score = serializers.FloatField(help_text="How far from usual, in robust standard deviations.")


class _Anomalies(serializers.Serializer[Any]):
    """The furthest first, at most a hundred."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    by = serializers.CharField(allow_null=True)


class PricedLineOutput(serializers.Serializer[Any]):
    """What one meter was charged, by which version of which price."""

    meter = serializers.CharField()
    tokens = serializers.IntegerField()
    price = serializers.UUIDField(allow_null=True, help_text="The version of the price; immutable.")
    tier = serializers.CharField(allow_null=True)
    markup_bps = serializers.IntegerField(allow_null=True, help_text="On cost, in hundredths of a percent.")
    effective_from = serializers.DateTimeField(allow_null=True, help_text="Since when the price is in force.")
    charged_nano = serializers.IntegerField()
    provider_cost_nano = serializers.IntegerField(allow_null=True)


class TracedUsageOutput(UsageRecordOutput):
    """A usage record, with what explains its amount."""

    lines = PricedLineOutput(many=True)
    provider_usage = serializers.JSONField(allow_null=True, help_text="What the provider said was used, in its words.")
    provider_cost_nano = serializers.IntegerField(allow_null=True, help_text="Null without `costs.read`.")


UsageReportOutput = type("UsageReportOutput", (_UsageReport,), {"data": ReportRowOutput(many=True)})
TopOutput = type("TopOutput", (_Top,), {"data": ReportRowOutput(many=True)})
AnomaliesOutput = type("AnomaliesOutput", (_Anomalies,), {"data": AnomalyOutput(many=True)})


def sums_body(row: Mapping[str, Any], *, with_cost: bool) -> dict[str, Any]:
    """`SumsOutput`."""
    return {
        "attempts": row["attempts"],
        "requests": row["requests"],
        "estimated": row["estimated"],
        "tokens": {meter: row[meter] for meter in METERS},
        "charged_nano": row["sell_nano"],
        "uncharged_nano": row["loss_nano"],
        "provider_cost_nano": row["cost_nano"] if with_cost else None,
        "latency_ms": row["latency_ms"],
    }
