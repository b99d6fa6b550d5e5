"""What is wrong with a final invoice is set right by another document: the invoice is void, and issued again or given up; or a
credit note gives some of it back."""

from datetime import datetime

from django.db import connection
from django.db.models import Sum
from django.utils import timezone

from billing.invoices import profiles, settling
from billing.invoices.gathering import CENT, GROUP, SUMS
from billing.invoices.issuing import finish, tax_of
from billing.models import Invoice, InvoiceLine
from billing.posting import Transfer, lock_books, post
from billing.services import dunning
from kernel.errors import Conflict, InvalidRequest
from kernel.ids import uuid7
from kernel.tenancy import current_tenant_id
from tenants.principals import Principal
from tenants.services.audit import record

REASON_CHARS_MAX = 200

_COLUMNS = ", ".join(("position", "description", "charge_id", *GROUP, *SUMS))
_COPY_LINES = f"""
    INSERT INTO billing_invoiceline (id, tenant_id, invoice_id, {_COLUMNS})
    SELECT gen_random_uuid(), tenant_id, %s, {_COLUMNS} FROM billing_invoiceline WHERE invoice_id = %s
"""  # noqa: S608 - constants
_COPIED = (
    *("since", "until", "since_tx", "until_tx", "time_zone", "credit_mark_nano", "credited_nano", "net_nano"),
    *("carry_nano", "lines", "currency"),
)


def void(
    invoice: Invoice, *, reason: str, again: bool, actor: Principal | None = None, now: datetime | None = None
) -> Invoice | None:
    """Make a final invoice void. With `again` the same lines are on a new one, for the buyer and at the tax of today: that
    one. Else what it asked is given up.

    Raises `Conflict` for what is paid, or no final invoice, and `InvalidRequest` without a reason.
    """
    _check_reason(reason)
    moment = now or timezone.now()
    lock_books()
    invoice = Invoice.objects.get(id=invoice.id)
    if invoice.kind != "invoice" or invoice.state != "final":
        raise Conflict(
            "Only an invoice that is final, and not paid, can be made void; what was paid takes a credit note."
        )
    if Invoice.objects.filter(corrects=invoice).exists():
        raise Conflict("There is a credit note for this invoice: it can't be void any more.")
    settling.release(invoice)
    was_overdue = invoice.overdue_at is not None
    invoice.state, invoice.void_at, invoice.reason, invoice.written_at = "void", moment, reason, None
    invoice.replaced = again
    invoice.save()
    given_up = 0 if again else invoice.net_nano
    post(*_back(invoice, tax_nano=invoice.tax_nano, net_nano=given_up, reason=reason))
    data = {"invoice": invoice.label, "reason": reason, "again": again}
    record(action="invoice.void", subject_kind="invoice", subject_id=invoice.id, actor=actor, data=data)
    made = _issue_again(invoice, moment) if again else None
    settling.settle_open()
    if was_overdue and not again:
        dunning.go_on(actor=actor, now=moment)
    return made


def _issue_again(old: Invoice, moment: datetime) -> Invoice:
    terms = profiles.terms()
    made = Invoice.objects.create(
        tenant_id=old.tenant_id,
        replaces=old,
        seller=profiles.seller().body(),
        buyer=profiles.buyer().body(),
        tax_bps=terms.tax_bps,
        tax_name=terms.tax_name,
        tax_note=terms.tax_note,
        due_at=old.due_at,
        total_nano=old.net_nano,
        **{name: getattr(old, name) for name in _COPIED},
    )
    with connection.cursor() as cursor:
        cursor.execute(_COPY_LINES, [made.id, old.id])
    finish(made, moment)
    return made


def credit(
    invoice: Invoice, *, net_nano: int, reason: str, actor: Principal | None = None, now: datetime | None = None
) -> Invoice:
    """A credit note: of an invoice so much is given back, and its tax with it. It pays what is open of the invoice, then
    others, then those to come.

    Raises `Conflict` for a draft or what is void, and `InvalidRequest` for more than is left of the invoice, or parts of
    cents.
    """
    _check_reason(reason)
    moment = now or timezone.now()
    lock_books()
    invoice = Invoice.objects.get(id=invoice.id)
    if invoice.kind != "invoice" or invoice.state not in ("final", "paid"):
        raise Conflict("A credit note is for an invoice that is final or paid.")
    given = Invoice.objects.filter(corrects=invoice).aggregate(net=Sum("net_nano"), tax=Sum("tax_nano"))
    left_nano = invoice.net_nano - (given["net"] or 0)
    left_tax_nano = invoice.tax_nano - (given["tax"] or 0)
    if net_nano % CENT or not 0 < net_nano <= left_nano:
        raise InvalidRequest(
            f"amount: whole cents, from 1 to {left_nano // CENT}, are needed.", details={"param": "amount"}
        )
    tax_nano = left_tax_nano if net_nano == left_nano else min(left_tax_nano, tax_of(net_nano, invoice.tax_bps))
    note = Invoice(
        id=uuid7(),
        tenant_id=current_tenant_id(),
        kind="credit_note",
        corrects=invoice,
        reason=reason,
        net_nano=net_nano,
        tax_nano=tax_nano,
        total_nano=net_nano + tax_nano,
        lines=1,
        **{name: getattr(invoice, name) for name in ("since", "until", "until_tx", "time_zone", "seller", "currency")},
        **{name: getattr(invoice, name) for name in ("buyer", "tax_name", "tax_bps", "tax_note")},
    )
    note.save(force_insert=True)
    InvoiceLine.objects.create(
        tenant_id=note.tenant_id, invoice=note, position=1, kind="correction", description=reason, amount_nano=-net_nano
    )
    finish(note, moment)
    was_overdue = settling.is_overdue()
    post(*_back(note, tax_nano=tax_nano, net_nano=net_nano, reason=reason))
    if taken := min(invoice.due_nano, note.total_nano):
        settling.pay(invoice, note, taken)
    settling.settle_open()
    if was_overdue:
        dunning.go_on(actor=actor, now=moment)
    data = {"credit_note": note.label, "invoice": invoice.label, "total_nano": note.total_nano, "reason": reason}
    record(action="credit_note.final", subject_kind="invoice", subject_id=note.id, actor=actor, data=data)
    note.refresh_from_db()
    return note


def _back(document: Invoice, *, tax_nano: int, net_nano: int, reason: str) -> list[Transfer]:
    """The entries by which the customer owes so much less, because an invoice is void or by a credit note."""
    kind, reverses = ("void", document.id) if document.kind == "invoice" else ("credit_note", document.corrects_id)
    return [
        Transfer(document.id, kind, account, "customer", nano, line=line, reverses=reverses, reason=reason)
        for line, (account, nano) in enumerate((("tax", tax_nano), ("revenue", net_nano)))
        if nano
    ]


def _check_reason(reason: str) -> None:
    if not (0 < len(reason) <= REASON_CHARS_MAX and reason.isprintable()):
        raise InvalidRequest(
            f"reason: 1 to {REASON_CHARS_MAX} printable characters are needed.", details={"param": "reason"}
        )
