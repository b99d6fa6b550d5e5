"""What is due of invoices, across tenants: found as the platform, done as each tenant, one failing alone. Two workers that do it
at once do it once: what one has in hand is locked, or said to be done in the transaction that does it."""

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog
from django.db import DatabaseError, connections, transaction
from django.utils import timezone

from billing.invoices import issuing, settling
from billing.invoices.closing import close_months
from billing.invoices.documents.keeping import MEDIA_TYPE, filename_of, keep_pdf
from billing.invoices.documents.sheet import day, money
from billing.models import Invoice, Subscription
from billing.posting import lock_books
from billing.services import dunning
from kernel.errors import ParleyError
from kernel.tenancy import tenant_scope
from tenants.notifications import Attachment

log = structlog.get_logger(__name__)

PLATFORM = "platform"
MAX_AT_ONCE = 1_000
"""Tenants or documents; the rest the next time."""

_MONTHS_OVER = """
    SELECT t.id FROM tenants_tenant t LEFT JOIN billing_invoiceschedule s ON s.tenant_id = t.id
    WHERE s.next_at IS NULL OR s.next_at <= %s ORDER BY s.next_at NULLS FIRST LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Done:
    """How much there was to do, of each kind."""

    closed: int
    drafted: int
    issued: int
    written: int
    overdue: int


def look_after_invoices(*, now: datetime | None = None) -> Done:
    """Close months, gather drafts, make them final, write and send them, and tell of those that nobody paid."""
    moment = now or timezone.now()
    with transaction.atomic(using=PLATFORM), connections[PLATFORM].cursor() as cursor:
        cursor.execute(_MONTHS_OVER, [moment, MAX_AT_ONCE])
        months = [tenant_id for (tenant_id,) in cursor.fetchall()]
    closed = sum(_for_each(months, lambda: close_months(now=moment)))
    drafts = Invoice.objects.using(PLATFORM).filter(state="draft")
    new = _tenants(drafts.filter(until_tx=None).order_by("finalize_at").values_list("tenant_id", flat=True))
    drafted = sum(_for_each(new, lambda: issuing.refresh_draft() is not None))
    due = _tenants(drafts.filter(finalize_at__lte=moment).order_by("finalize_at").values_list("tenant_id", flat=True))
    issued = sum(_for_each(due, lambda: _issue_all(moment)))
    return Done(closed, drafted, issued, write_documents(), tell_overdue(now=moment))


def write_documents() -> int:
    """Make the PDFs that there are none of yet, and send them. How many."""
    unwritten = Invoice.objects.using(PLATFORM).filter(written_at=None, number__gte=1).order_by("final_at")
    written = 0
    for tenant_id, invoice_id in list(unwritten.values_list("tenant_id", "id")[:MAX_AT_ONCE]):
        written += sum(_for_each([tenant_id], partial(_write, invoice_id), in_transaction=False))
    return written


def tell_overdue(*, now: datetime | None = None) -> int:
    """Tell of invoices that nobody paid in time; the subscription's days of grace begin. How many."""
    moment = now or timezone.now()
    late = Invoice.objects.using(PLATFORM).filter(state="final", kind="invoice", overdue_at=None, due_at__lte=moment)
    tenants = _tenants(late.order_by("due_at").values_list("tenant_id", flat=True))
    return sum(_for_each(tenants, lambda: _tell_overdue(moment)))


def _issue_all(moment: datetime) -> int:
    """Drafts of one tenant follow one another, oldest first."""
    made = 0
    while (before := Invoice.objects.filter(state="draft", finalize_at__lte=moment).count()) and made < MAX_AT_ONCE:
        made += issuing.issue(now=moment) is not None
        if Invoice.objects.filter(state="draft", finalize_at__lte=moment).count() == before:
            break
    return made


def _write(invoice_id: uuid.UUID) -> int:
    with transaction.atomic():
        document = Invoice.objects.select_related("corrects", "replaces").get(id=invoice_id)
    name = keep_pdf(document)
    with transaction.atomic():
        known = Invoice.objects.select_for_update().get(id=invoice_id)
        if known.written_at is not None or (known.state == "void") != (document.state == "void"):
            return 0
        known.written_at = timezone.now()
        known.save(update_fields=["written_at"])
        _send(known, name)
    return 1


def _send(document: Invoice, name: str) -> None:
    files = (Attachment(filename_of(document, "pdf"), MEDIA_TYPE, name),)
    if document.state == "void":
        text = f"It is not to be paid any more: {document.reason}"
        issuing.tell(
            document, "invoice.void", subject=f"Invoice {document.label} is void", text=text, attachments=files
        )
        return
    amount = f"{money(document.total_nano)} US dollars"
    if document.kind == "credit_note":
        subject, text = f"Credit note {document.label}", f"{amount} are given back: {document.reason}"
    else:
        due = (
            f" to be paid by {day(document.due_at, document.time_zone)}"
            if document.due_nano
            else ", and nothing is due"
        )
        subject, text = f"Invoice {document.label}", f"It comes to {amount}{due}."
    issuing.tell(document, "invoice.issued", subject=subject, text=text, attachments=files)


def _tell_overdue(moment: datetime) -> int:
    # As whoever enters a payment does: the books first, then the invoices.
    lock_books()
    late = Invoice.objects.select_for_update().filter(
        state="final", kind="invoice", overdue_at=None, due_at__lte=moment
    )
    found = list(late.order_by("number")[:MAX_AT_ONCE])
    for invoice in found:
        invoice.overdue_at = moment
        invoice.save(update_fields=["overdue_at"])
        issuing.tell(
            invoice,
            "invoice.overdue",
            again=moment.isoformat(),
            subject=f"Invoice {invoice.label} is overdue",
            text=f"{money(invoice.due_nano)} US dollars were to be paid by {day(invoice.due_at, invoice.time_zone)}.",
        )
    if found and settling.is_overdue() and Subscription.objects.exists():
        dunning.payment_failed(reason=f"invoice {found[0].label} is overdue", now=moment)
    return len(found)


def _tenants(found: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    """Each once, in order, as many as are looked after at once."""
    return list(dict.fromkeys(found))[:MAX_AT_ONCE]


def _for_each(tenants: Iterable[uuid.UUID], work: Callable[[], int], *, in_transaction: bool = True) -> Iterator[int]:
    for tenant_id in tenants:
        try:
            with tenant_scope(tenant_id):
                if in_transaction:
                    with transaction.atomic():
                        yield int(work())
                else:
                    yield int(work())
        except (ParleyError, DatabaseError, OSError):
            log.exception("invoice_upkeep_failed", tenant=str(tenant_id))
