"""What is paid of which invoice: money that came in and wasn't for credit, and credit notes, pay the open invoices, the oldest
first. All of it with the books locked."""

import uuid
from collections.abc import Iterator

from django.db.models import BigIntegerField, F, OuterRef, Subquery, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from billing.models import Invoice, InvoicePayment, Payment, PaymentReturn

SETTLES = ("invoice", "subscription")
"""Purposes of payments that pay invoices."""
_STATE = ("state", "paid_at", "overdue_at")


def settle_open(*, first: uuid.UUID | None = None) -> None:
    """Pay open invoices with what there is, that one before all others."""
    open_ones = sorted(
        Invoice.objects.filter(kind="invoice", state="final"), key=lambda one: (one.id != first, one.number)
    )
    sources = _sources() if open_ones else iter(())
    source, left = next(sources, (None, 0))
    for invoice in open_ones:
        while source is not None and invoice.due_nano:
            taken = min(left, invoice.due_nano)
            pay(invoice, source, taken)
            left -= taken
            if not left:
                source, left = next(sources, (None, 0))
        mark(invoice)


def take_back(payment: Payment) -> None:
    """Of a payment more went back than was left of it: the invoices that it paid last are open again."""
    excess = _settled_by(payment) - (payment.amount_nano - _returned(payment))
    paid = InvoicePayment.objects.filter(payment=payment).values("invoice").annotate(nano=Sum("amount_nano"))
    invoices = Invoice.objects.in_bulk([row["invoice"] for row in paid])
    for row in sorted(paid, key=lambda row: invoices[row["invoice"]].number or 0, reverse=True):
        if (taken := min(excess, row["nano"])) > 0:
            pay(invoices[row["invoice"]], payment, -taken)
            excess -= taken


def release(invoice: Invoice) -> None:
    """What was paid of an invoice that is void is free for others."""
    paid = (
        InvoicePayment.objects.filter(invoice=invoice)
        .values("payment", "credit_note")
        .annotate(nano=Sum("amount_nano"))
    )
    for row in paid:
        if row["nano"]:
            source = (
                Payment.objects.get(id=row["payment"]) if row["payment"] else Invoice.objects.get(id=row["credit_note"])
            )
            pay(invoice, source, -row["nano"])


def pay(invoice: Invoice, source: Payment | Invoice, nano: int) -> None:
    """Write down that `source` pays so much of an invoice, or less than nothing that it doesn't."""
    note = source if isinstance(source, Invoice) else None
    payment = source if isinstance(source, Payment) else None
    InvoicePayment.objects.create(
        tenant_id=invoice.tenant_id, invoice=invoice, payment=payment, credit_note=note, amount_nano=nano
    )
    invoice.settled_nano += nano
    # Both at once: what is not paid in full is never marked as paid.
    _judge(invoice)
    invoice.save(update_fields=["settled_nano", *_STATE])
    if note is not None:
        note.settled_nano += nano
        note.save(update_fields=["settled_nano"])


def mark(invoice: Invoice) -> None:
    """Have an invoice's state say whether it is paid; one that asks for nothing is."""
    if _judge(invoice):
        invoice.save(update_fields=_STATE)


def _judge(invoice: Invoice) -> bool:
    """Whether that changed."""
    is_paid = invoice.settled_nano >= invoice.total_nano
    if invoice.state == "final" and is_paid:
        invoice.state, invoice.paid_at = "paid", timezone.now()
    elif invoice.state == "paid" and not is_paid:
        # Nobody was told that this is due: it was paid.
        invoice.state, invoice.paid_at, invoice.overdue_at = "final", None, None
    else:
        return False
    return True


def is_overdue() -> bool:
    """Whether an invoice waits for its payment longer than it should."""
    return Invoice.objects.filter(kind="invoice", state="final", overdue_at__isnull=False).exists()


def _sources() -> Iterator[tuple[Payment | Invoice | None, int]]:
    """Whatever has something left, oldest first, and how much: credit notes before payments."""
    for note in Invoice.objects.filter(kind="credit_note").exclude(state="draft").order_by("number"):
        if (left := note.total_nano - note.settled_nano) > 0:
            yield note, left
    back = PaymentReturn.objects.filter(payment=OuterRef("id")).values("payment").annotate(nano=Sum("amount_nano"))
    used = InvoicePayment.objects.filter(payment=OuterRef("id")).values("payment").annotate(nano=Sum("amount_nano"))
    payments = Payment.objects.filter(purpose__in=SETTLES).annotate(
        left_nano=F("amount_nano")
        - Coalesce(Subquery(back.values("nano")), 0, output_field=BigIntegerField())
        - Coalesce(Subquery(used.values("nano")), 0, output_field=BigIntegerField())
    )
    for payment in payments.filter(left_nano__gt=0).order_by("id"):
        yield payment, payment.left_nano


def _returned(payment: Payment) -> int:
    return PaymentReturn.objects.filter(payment=payment).aggregate(nano=Sum("amount_nano"))["nano"] or 0


def _settled_by(payment: Payment) -> int:
    return InvoicePayment.objects.filter(payment=payment).aggregate(nano=Sum("amount_nano"))["nano"] or 0
