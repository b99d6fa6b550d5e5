"""A tenant's invoices, and who they are for."""

import uuid
from typing import Any

from django.db import connection, transaction
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.invoice_serializers import (
    BillingProfileInput,
    BillingProfileOutput,
    InvoiceLineOutput,
    InvoiceOutput,
    invoice_body,
    profile_body,
)
from billing.api.plan_serializers import CheckoutOutput, checkout_body
from billing.api.report_serializers import TracedUsageOutput
from billing.api.report_views import COSTS
from billing.api.traced_usage import traced_body
from billing.invoice_models import KINDS, STATES
from billing.invoices import profiles
from billing.invoices.documents.rows import PAGE, Row
from billing.invoices.documents.tables import line_body
from billing.invoices.tracing import prices_of, records_of
from billing.models import Invoice, InvoiceLine
from billing.services import checkouts
from kernel.api.pagination import Cursor, paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import page_of
from kernel.api.views import TenantAPIView, without_transaction
from kernel.errors import InvalidRequest, NotFound, PermissionDenied
from tenants.api.base import principal_of

READ = {"GET": "invoices.read"}
LINES_MAX = 2**31 - 1


def access_invoice(invoice_id: uuid.UUID) -> Invoice:
    """The tenant's invoice of that id. Raises `NotFound`."""
    found = Invoice.objects.filter(id=invoice_id).first()
    if found is None:
        raise NotFound
    return found


class BillingProfileView(TenantAPIView):
    """Who invoices are for."""

    permissions = {"GET": "invoices.read", "PUT": "invoices.manage"}

    @extend_schema(operation_id="billing_profile", responses=BillingProfileOutput, tags=["invoices"])
    def get(self, request: Request) -> Response:
        return Response(profile_body(profiles.profile(), profiles.terms()))

    @extend_schema(
        operation_id="billing_profile_set",
        description="For invoices to come: those that are final stay as they are.",
        request=BillingProfileInput,
        responses=BillingProfileOutput,
        tags=["invoices"],
    )
    def put(self, request: Request) -> Response:
        given = BillingProfileInput(data=request.data)
        given.is_valid(raise_exception=True)
        known = profiles.describe(profiles.Party(**given.validated_data), actor=principal_of(request))
        return Response(profile_body(known, profiles.terms()))


class InvoicesView(TenantAPIView):
    """Invoices and credit notes, newest first."""

    permissions = READ

    @extend_schema(
        operation_id="invoices",
        parameters=[
            OpenApiParameter("kind", str, enum=list(KINDS)),
            OpenApiParameter("state", str, enum=list(STATES)),
            *PAGE_PARAMETERS,
        ],
        responses=page_of(InvoiceOutput(many=True), "InvoicePage"),
        tags=["invoices"],
    )
    def get(self, request: Request) -> Response:
        found = Invoice.objects.all()
        for name, known in (("kind", KINDS), ("state", STATES)):
            if (value := request.query_params.get(name)) is not None:
                if value not in known:
                    raise InvalidRequest(f"{name}: one of {', '.join(known)} is needed.", details={"param": name})
                found = found.filter(**{name: value})
        return Response(paginate(request, found, render=invoice_body, descending=True).body())


class InvoiceView(TenantAPIView):
    """One of them."""

    permissions = READ

    @extend_schema(operation_id="invoice", responses=InvoiceOutput, tags=["invoices"])
    def get(self, request: Request, invoice_id: uuid.UUID) -> Response:
        return Response(invoice_body(access_invoice(invoice_id)))


class InvoiceCheckoutView(TenantAPIView):
    """Paying it online."""

    permissions = {"POST": "billing.manage"}

    @extend_schema(
        operation_id="invoice_checkout",
        description="A page where what is due of it is paid. It is paid when the payment has come in.",
        request=None,
        responses={201: CheckoutOutput},
        tags=["invoices"],
    )
    @without_transaction
    def post(self, request: Request, invoice_id: uuid.UUID) -> Response:
        with transaction.atomic():
            invoice = access_invoice(invoice_id)
        begun = checkouts.begin_payment(caller=principal_of(request), invoice=invoice)
        return Response(checkout_body(begun), status=status.HTTP_201_CREATED)


class InvoiceLinesView(TenantAPIView):
    """What it is made of, in its order."""

    permissions = READ

    @extend_schema(
        operation_id="invoice_lines",
        parameters=PAGE_PARAMETERS,
        responses=page_of(InvoiceLineOutput(many=True), "InvoiceLinePage"),
        tags=["invoices"],
    )
    def get(self, request: Request, invoice_id: uuid.UUID) -> Response:
        asked = Cursor.of(request)
        after = asked.after or "0"
        if not (after.isascii() and after.isdigit() and int(after) <= LINES_MAX):
            raise InvalidRequest("cursor: this is no cursor of this list.", details={"param": "cursor"})
        invoice = access_invoice(invoice_id)
        with connection.cursor() as cursor:
            cursor.execute(PAGE, {"id": invoice.id, "after": int(after), "limit": asked.limit + 1})
            names = [column.name for column in cursor.description]
            rows: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return Response(asked.page(rows, render=line_body, key=_position).body())


class LineUsageView(TenantAPIView):
    """The requests that a line sums, with the versions of their prices and what the provider said."""

    permissions = {"GET": "usage.read"}

    @extend_schema(
        operation_id="invoice_line_usage",
        parameters=PAGE_PARAMETERS,
        responses=page_of(TracedUsageOutput(many=True), "InvoiceLineUsagePage"),
        tags=["invoices"],
    )
    def get(self, request: Request, invoice_id: uuid.UUID, line_id: uuid.UUID) -> Response:
        asked, caller = Cursor.of(request), principal_of(request)
        if not caller.may("invoices.read"):
            raise PermissionDenied(details={"permission": "invoices.read"})
        after = asked.uuid()
        found = InvoiceLine.objects.filter(id=line_id, invoice_id=invoice_id).first()
        if found is None:
            raise NotFound
        records = records_of(found, after=after, limit=asked.limit + 1)
        prices, with_cost = prices_of(records), caller.may(COSTS)
        page = asked.page(
            records,
            render=lambda record: traced_body(record, prices, with_cost=with_cost),
            key=lambda record: str(record.id),
        )
        return Response(page.body())


def _position(row: Row) -> str:
    return str(row["position"])
