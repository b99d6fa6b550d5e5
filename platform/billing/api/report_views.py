"""Reports over REST. With `usage.read` of the whole tenant, else of one's own usage."""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection
from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.report_serializers import (
    AnomaliesOutput,
    ForecastOutput,
    TopOutput,
    UsageReportOutput,
    sums_body,
)
from billing.reports.anomalies import BASELINE_DAYS, anomalies
from billing.reports.asking import COLUMNS, DIMENSIONS_MAX, Asked, Interval, asked_for
from billing.reports.export import export
from billing.reports.forecast import HISTORY_DAYS, forecast, month_of
from billing.reports.naming import NAMES, named
from billing.reports.summing import After, Row, rows_of, series_of, start_of, told_start, top_of, totals_of
from kernel.api.pagination import DEFAULT_LIMIT
from kernel.api.streams import download
from kernel.api.views import TenantAPIView
from kernel.errors import InvalidRequest
from kernel.tenancy import current_scope
from tenants.api.base import principal_of
from tenants.models import Tenant
from tenants.selectors import this_tenant

ROWS_MAX = 1_000
CURSOR_CHARS_MAX = 4_000
COSTS = "costs.read"
ANOMALY_HOURS, ANOMALY_HOURS_MAX, ANOMALIES_MAX = 24, 168, 100
COMPARED_MAX = 50
"""Of members, keys and so on: those that were charged most are looked at for anomalies."""
HOURS_MAX = COMPARED_MAX * 24 * (BASELINE_DAYS + ANOMALY_HOURS_MAX // 24 + 2)

FILTERS = [
    OpenApiParameter(name, str, description="Only these: a value, or several with commas between.") for name in COLUMNS
]
RANGE = [
    OpenApiParameter("from", str, description="A day in the tenant's time zone, or a moment. 30 days ago unless told."),
    OpenApiParameter("to", str, description="As `from`; not included. Now unless told."),
]
LIMIT = OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": ROWS_MAX, "default": DEFAULT_LIMIT})


class CsvRenderer(BaseRenderer):
    """Stands for CSV when a client and a view agree on the form of an answer. The view writes it itself."""

    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"

    def render(self, data: Any, *_: Any, **__: Any) -> bytes:
        raise NotImplementedError("views stream CSV; their errors are JSON")


class ReportView(TenantAPIView):
    """What reports share."""

    renderer_classes: tuple[type[BaseRenderer], ...] = (JSONRenderer,)
    default_interval: Interval | None = None

    def handle_exception(self, exc: Exception) -> Response:
        """Errors are JSON, also to who asked for CSV."""
        self.request.accepted_renderer = JSONRenderer()
        self.request.accepted_media_type = JSONRenderer.media_type
        return super().handle_exception(exc)

    def asked(self, request: Request, tenant: Tenant) -> Asked:
        """What the request asks for."""
        caller = principal_of(request)
        return asked_for(
            request.query_params,
            zone=ZoneInfo(tenant.timezone),
            now=timezone.now(),
            only=None if caller.may("usage.read") else caller.membership_id,
            default_interval=self.default_interval,
        )


class UsageReportView(ReportView):
    """Usage over time, apart by up to three dimensions."""

    permissions = {"GET": "usage.read_own"}
    renderer_classes = (JSONRenderer, CsvRenderer)
    default_interval = "day"

    @extend_schema(
        operation_id="report_usage",
        parameters=[
            OpenApiParameter("group_by", str, description=f"At most {DIMENSIONS_MAX} of: {', '.join(COLUMNS)}."),
            OpenApiParameter("interval", str, enum=["hour", "day", "month", "none"], default="day"),
            *RANGE,
            *FILTERS,
            OpenApiParameter("cursor", str, description="`next_cursor` of the page before."),
            LIMIT,
            OpenApiParameter(
                "format", str, enum=["json", "csv"], description="As `Accept: text/csv`: all of it, streamed."
            ),
        ],
        responses={(200, "application/json"): UsageReportOutput, (200, "text/csv"): OpenApiTypes.STR},
        tags=["reports"],
    )
    def get(self, request: Request) -> Response | StreamingHttpResponse:
        caller = principal_of(request)
        asked = self.asked(request, this_tenant(caller.tenant_id))
        with_cost, names = caller.may(COSTS), named(asked.group_by, caller)
        limit, after = _limit(request), _after(request, asked)
        if request.accepted_renderer.format == "csv":
            chunks = export(asked, scope=current_scope(), names=names, with_cost=with_cost)
            return download(request, chunks, content_type="text/csv; charset=utf-8", filename="usage.csv")
        rows = rows_of(series_of(asked, limit=limit + 1, after=after))
        shown = rows[:limit]
        totals = rows_of(totals_of(asked))[0] if after is None else None
        return Response(
            {
                "since": asked.since,
                "until": asked.until,
                "time_zone": asked.zone.key,
                "interval": asked.interval,
                "group_by": asked.group_by,
                "totals": sums_body(totals, with_cost=with_cost) if totals else None,
                "data": _bodies(shown, asked, names, with_cost=with_cost),
                "next_cursor": _cursor(shown[-1], asked) if len(rows) > limit else None,
            }
        )


class TopReportView(ReportView):
    """Who, or what, was charged most."""

    permissions = {"GET": "usage.read_own"}

    @extend_schema(
        operation_id="report_top",
        parameters=[OpenApiParameter("by", str, enum=list(COLUMNS), default="member"), *RANGE, *FILTERS, LIMIT],
        responses=TopOutput,
        tags=["reports"],
    )
    def get(self, request: Request) -> Response:
        caller = principal_of(request)
        asked = _by(self.asked(request, this_tenant(caller.tenant_id)), request.query_params.get("by", "member"))
        with_cost = caller.may(COSTS)
        rows = rows_of(top_of(asked, limit=_limit(request)))
        return Response(
            {
                "since": asked.since,
                "until": asked.until,
                "by": asked.group_by[0],
                "totals": sums_body(rows_of(totals_of(asked))[0], with_cost=with_cost),
                "data": _bodies(rows, asked, named(asked.group_by, caller), with_cost=with_cost),
            }
        )


class ForecastView(ReportView):
    """What this month will come to, for what the filters let through."""

    permissions = {"GET": "usage.read_own"}

    @extend_schema(operation_id="report_forecast", parameters=FILTERS, responses=ForecastOutput, tags=["reports"])
    def get(self, request: Request) -> Response:
        tenant = this_tenant(principal_of(request).tenant_id)
        now, zone = timezone.now(), ZoneInfo(tenant.timezone)
        since, until = month_of(now, zone)
        asked = self.asked(request, tenant)
        history = Asked(
            min(since, now - timedelta(days=HISTORY_DAYS + 1)), now, zone, "day", (), asked.filters, asked.only
        )
        days = {
            row["start"].astimezone(zone).date(): row["sell_nano"]
            for row in rows_of(series_of(history, limit=ROWS_MAX))
        }
        opened = tenant.created_at.astimezone(zone).date()
        found = forecast(days, since=since, until=until, now=now, zone=zone, opened=opened)
        return Response(
            {
                "period_start": since,
                "period_end": until,
                **{name: getattr(found, name) for name in ("so_far_nano", "expected_nano", "low_nano", "high_nano")},
                "method": found.method,
                "days": found.days,
            }
        )


class AnomaliesView(ReportView):
    """Hours unlike the same hours before."""

    permissions = {"GET": "usage.read_own"}

    @extend_schema(
        operation_id="report_anomalies",
        parameters=[
            OpenApiParameter(
                "by", str, enum=list(COLUMNS), description="Look at each of these; else the whole tenant."
            ),
            OpenApiParameter(
                "hours",
                {"type": "integer", "minimum": 1, "maximum": ANOMALY_HOURS_MAX, "default": ANOMALY_HOURS},
                description="So many whole hours until now are looked at.",
            ),
            *FILTERS,
        ],
        responses=AnomaliesOutput,
        tags=["reports"],
    )
    def get(self, request: Request) -> Response:
        caller = principal_of(request)
        tenant = this_tenant(caller.tenant_id)
        zone, by = ZoneInfo(tenant.timezone), request.query_params.get("by")
        # Whole hours of the tenant's clock.
        local = timezone.now().astimezone(zone).replace(minute=0, second=0, microsecond=0)
        until = local.astimezone(UTC)
        since = until - timedelta(hours=_whole(request, "hours", ANOMALY_HOURS, ANOMALY_HOURS_MAX))
        asked = self.asked(request, tenant)
        recent = Asked(since, until, zone, "hour", (), asked.filters, asked.only)
        recent = recent if by is None else _most_charged(_by(recent, by))
        history = Asked(
            since - timedelta(days=BASELINE_DAYS + 1), until, zone, "hour", recent.group_by, recent.filters, asked.only
        )
        hours = {
            (row[f"by_{by}"] if by else "", start_of(row)): int(row["sell_nano"])
            for row in rows_of(series_of(history, limit=HOURS_MAX))
        }
        found = anomalies(hours, since=since, until=until, opened=tenant.created_at, zone=zone)[:ANOMALIES_MAX]
        names = _names({by: {one.of for one in found}}, named((by,), caller)) if by else {}
        return Response(
            {
                "since": since,
                "until": until,
                "by": by,
                "data": [
                    {
                        "start": one.start,
                        "of": one.of,
                        "name": names.get(one.of),
                        "charged_nano": one.charged_nano,
                        "usual_nano": one.usual_nano,
                        "score": one.score,
                    }
                    for one in found
                ],
            }
        )


def _by(asked: Asked, name: str) -> Asked:
    if name not in COLUMNS:
        raise InvalidRequest(f"by: one of {', '.join(COLUMNS)} is needed.", details={"param": "by"})
    return Asked(asked.since, asked.until, asked.zone, asked.interval, (name,), asked.filters, asked.only)


def _most_charged(asked: Asked) -> Asked:
    """The same of those alone that were charged most."""
    name = asked.group_by[0]
    whole = Asked(asked.since, asked.until, asked.zone, None, (name,), asked.filters, asked.only)
    values = [row[f"by_{name}"] or "none" for row in rows_of(top_of(whole, limit=COMPARED_MAX))]
    filters = {**asked.filters, name: values or ["none"]}
    return Asked(asked.since, asked.until, asked.zone, asked.interval, (name,), filters, asked.only)


def _bodies(rows: Sequence[Row], asked: Asked, names: Sequence[str], *, with_cost: bool) -> list[dict[str, Any]]:
    known = _names({name: {row[f"by_{name}"] for row in rows} for name in asked.group_by}, names)
    found = []
    for row in rows:
        by = {name: row[f"by_{name}"] or None for name in asked.group_by}
        shown = {name: known[value] for name, value in by.items() if name in names and value in known}
        found.append({"start": told_start(row, asked), "by": by, "names": shown, **sums_body(row, with_cost=with_cost)})
    return found


def _names(ids: Mapping[str, Iterable[str]], names: Iterable[str]) -> dict[str, str]:
    known: dict[str, str] = {}
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute(NAMES[name], {"ids": [value for value in ids[name] if value]})
            known |= dict(cursor.fetchall())
    return known


def _limit(request: Request) -> int:
    return _whole(request, "limit", DEFAULT_LIMIT, ROWS_MAX)


def _whole(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= most):
        raise InvalidRequest(f"{name}: a whole number from 1 to {most} is needed.", details={"param": name})
    return int(text)


def _cursor(row: Row, asked: Asked) -> str:
    last = [start_of(row).isoformat(), *(row[f"by_{name}"] for name in asked.group_by)]
    return base64.urlsafe_b64encode(json.dumps(last).encode()).decode()


def _after(request: Request, asked: Asked) -> After | None:
    text = request.query_params.get("cursor")
    if not text:
        return None
    try:
        if len(text) > CURSOR_CHARS_MAX:
            raise ValueError
        start, *values = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
        moment = datetime.fromisoformat(start)
        if len(values) != len(asked.group_by) or moment.tzinfo is None or not all(_is_text(value) for value in values):
            raise ValueError
    except (ValueError, TypeError, RecursionError, binascii.Error) as error:
        raise InvalidRequest("cursor: this is no cursor of this report.", details={"param": "cursor"}) from error
    return moment, values


def _is_text(value: Any) -> bool:
    """Whether the database can take it for text."""
    return isinstance(value, str) and "\x00" not in value and value.encode(errors="ignore").decode() == value
