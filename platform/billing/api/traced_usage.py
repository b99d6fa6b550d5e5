"""From a line of a report, or of an invoice, to its requests, with the versions of the prices and what the providers said."""

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.report_serializers import TracedUsageOutput
from billing.api.report_views import COSTS, FILTERS, RANGE
from billing.api.serializers import usage_record_body
from billing.invoices.tracing import PriceVersion, prices_of
from billing.models import UsageRecord
from billing.reports.asking import NOBODY, asked_for, filters_of
from kernel.api.pagination import paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import page_of
from kernel.api.views import TenantAPIView
from kernel.errors import InvalidRequest
from kernel.ids import parse_uuid
from tenants.api.base import principal_of
from tenants.models import GroupMember
from tenants.principals import Principal
from tenants.selectors import this_tenant

_FIELDS: Mapping[str, str] = {
    "model": "alias",
    "upstream_model": "model",
    "provider": "provider",
    "connection": "connection",
    "member": "membership_id",
    "api_key": "api_key_id",
    "room": "subject_id",
    "cache": "cache",
    "status": "status",
}


class TracedUsageView(TenantAPIView):
    """Usage records by the filters of reports, newest first: one's own, or with `usage.read` the whole tenant's."""

    permissions = {"GET": "usage.read_own"}

    @extend_schema(
        operation_id="traced_usage_list",
        parameters=[
            *RANGE,
            *FILTERS,
            OpenApiParameter("request_id", str, description="The attempts of this request."),
            *PAGE_PARAMETERS,
        ],
        responses=page_of(TracedUsageOutput(many=True), "TracedUsagePage"),
        tags=["reports"],
    )
    def get(self, request: Request) -> Response:
        caller = principal_of(request)
        page = paginate(request, _records(request, caller), render=lambda record: record, descending=True)
        prices = prices_of(page.data)
        with_cost = caller.may(COSTS)
        page_body = page.body()
        page_body["data"] = [traced_body(record, prices, with_cost=with_cost) for record in page.data]
        return Response(page_body)


def _records(request: Request, caller: Principal) -> QuerySet[UsageRecord]:
    said = request.query_params
    records = UsageRecord.objects.all()
    if not caller.may("usage.read"):
        records = records.filter(membership_id=caller.membership_id)
    if said.get("from") or said.get("to"):
        zone = ZoneInfo(this_tenant(caller.tenant_id).timezone)
        asked = asked_for(said, zone=zone, now=timezone.now(), only=None, default_interval=None)
        records = records.filter(at__gte=asked.since, at__lt=asked.until)
    if (text := said.get("request_id")) is not None:
        known = parse_uuid(text)
        if known is None:
            raise InvalidRequest("request_id: an id is needed.", details={"param": "request_id"})
        records = records.filter(request_id=known)
    for name, values in filters_of(said).items():
        records = records.filter(_test(name, values))
    return records


def _test(name: str, values: Sequence[str]) -> Q:
    listed = (
        [value for value in values if value != NOBODY] if name in ("api_key", "room", "group", "member") else values
    )
    nobody = len(listed) < len(values)
    if name == "group":
        members = GroupMember.objects.all()
        test = Q(membership_id__in=members.filter(group_id__in=listed).values("membership_id"))
        return test | ~Q(membership_id__in=members.values("membership_id")) if nobody else test
    field = _FIELDS[name]
    test = Q(**{f"{field}__in": listed})
    if name == "room":
        test &= Q(subject_kind="room")
        return test | ~Q(subject_kind="room") | Q(subject_kind=None) if nobody else test
    return test | Q(**{f"{field}__isnull": True}) if nobody else test


def traced_body(record: UsageRecord, prices: Mapping[str, PriceVersion], *, with_cost: bool) -> dict[str, Any]:
    """`TracedUsageOutput`."""
    lines = [
        {
            "meter": line.get("meter"),
            "tokens": line.get("tokens"),
            "price": line.get("price"),
            "tier": line.get("tier"),
            "markup_bps": line.get("markup_bps") if with_cost else None,
            "effective_from": known.effective_from if (known := prices.get(str(line.get("price")))) else None,
            "charged_nano": line.get("sell_nano", 0),
            "provider_cost_nano": line.get("cost_nano") if with_cost else None,
        }
        for line in record.charge_lines
    ]
    return {
        **usage_record_body(record),
        "lines": lines,
        "provider_usage": record.provider_usage,
        "provider_cost_nano": record.cost_nano if with_cost else None,
    }
