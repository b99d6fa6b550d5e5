"""Invoices as files. Those of drafts there are none: they change."""

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator
from typing import IO

from django.db import transaction
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

from billing.api.invoice_serializers import invoice_body
from billing.api.invoice_views import READ
from billing.invoices.documents.keeping import CHUNK_BYTES, MEDIA_TYPE, filename_of, make_pdf, name_of
from billing.invoices.documents.tables import as_csv, as_json
from billing.models import Invoice
from kernel.api.streams import download
from kernel.api.views import TenantAPIView, without_transaction
from kernel.errors import Conflict, NotFound
from kernel.objects import object_storage
from kernel.tenancy import current_scope

LINES_AT_ONCE_MAX = 5_000
"""The PDF of so many lines is made while somebody waits for it, where there is none; of more, a worker makes it."""


class NotIssued(Conflict):
    """This is a draft: it has no documents before it is final."""

    code = "invoice_not_final"


class NotWritten(Conflict):
    """The PDF of this invoice is being made. Ask again in a minute."""

    code = "invoice_not_written"


class InvoiceFileView(TenantAPIView):
    """What they share."""

    permissions = READ

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        """Each address has one form, whatever `Accept` says; errors are JSON."""
        return JSONRenderer(), JSONRenderer.media_type

    def document(self, invoice_id: uuid.UUID) -> Invoice:
        """The invoice. Raises `NotFound`, and `NotIssued` for a draft."""
        with transaction.atomic():
            found = Invoice.objects.select_related("corrects", "replaces").filter(id=invoice_id).first()
        if found is None:
            raise NotFound
        if found.state == "draft":
            raise NotIssued
        return found


class InvoicePdfView(InvoiceFileView):
    """As PDF."""

    @extend_schema(
        operation_id="invoice_pdf", responses={(200, "application/pdf"): OpenApiTypes.BINARY}, tags=["invoices"]
    )
    @without_transaction
    def get(self, request: Request, invoice_id: uuid.UUID) -> StreamingHttpResponse:
        document = self.document(invoice_id)
        if not object_storage().exists(name_of(document)) and document.lines > LINES_AT_ONCE_MAX:
            with transaction.atomic():
                Invoice.objects.filter(id=document.id).update(written_at=None)
            raise NotWritten
        return download(request, _pieces(document), content_type=MEDIA_TYPE, filename=filename_of(document, "pdf"))


class InvoiceCsvView(InvoiceFileView):
    """Its lines as CSV."""

    @extend_schema(operation_id="invoice_csv", responses={(200, "text/csv"): OpenApiTypes.STR}, tags=["invoices"])
    @without_transaction
    def get(self, request: Request, invoice_id: uuid.UUID) -> StreamingHttpResponse:
        document = self.document(invoice_id)
        chunks = as_csv(document, scope=current_scope())
        return download(request, chunks, content_type="text/csv; charset=utf-8", filename=filename_of(document, "csv"))


class InvoiceJsonView(InvoiceFileView):
    """All of it as JSON: `invoice`, and its `lines`."""

    @extend_schema(operation_id="invoice_json", responses=OpenApiTypes.OBJECT, tags=["invoices"])
    @without_transaction
    def get(self, request: Request, invoice_id: uuid.UUID) -> StreamingHttpResponse:
        document = self.document(invoice_id)
        chunks = as_json(document, invoice_body(document), scope=current_scope())
        return download(request, chunks, content_type="application/json", filename=filename_of(document, "json"))


async def _pieces(document: Invoice) -> AsyncIterator[bytes]:
    content = await asyncio.to_thread(_opened, document)
    try:
        while piece := await asyncio.to_thread(content.read, CHUNK_BYTES):
            yield piece
    finally:
        content.close()


def _opened(document: Invoice) -> IO[bytes]:
    """The PDF that a worker made; where there is none, one that is made now."""
    try:
        kept: IO[bytes] = object_storage().open(name_of(document), "rb")
    except FileNotFoundError:
        made = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it was sent
        try:
            make_pdf(document, made)
        except BaseException:
            made.close()
            raise
        made.seek(0)
        return made
    return kept
