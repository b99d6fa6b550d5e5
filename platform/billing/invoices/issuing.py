"""A draft becomes final: its lines are gathered once more, and it gets its number, its tax and its entries in the books. From
then on it is what it is."""

from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from billing.invoice_models import BPS_MAX
from billing.invoices import profiles, settling
from billing.invoices.closing import chain
from billing.invoices.gathering import CENT, gather
from billing.models import Invoice
from billing.posting import Transfer, lock_books, post
from tenants.models import Tenant
from tenants.notifications import Audience, notify
from tenants.principals import Principal
from tenants.services.audit import record

log = structlog.get_logger(__name__)

LETTERS = {"invoice": "", "credit_note": "C"}
LINK = "/console/invoices"


def refresh_draft() -> Invoice | None:
    """Gather the lines of the oldest draft, that it may be looked at before it is final; one with nothing on it is deleted.
    None where there is none, or another process has it in hand."""
    draft = _oldest_draft()
    if draft is None or not gather(draft):
        if draft is not None:
            draft.delete()
        return None
    draft.save()
    return draft


def issue(*, now: datetime | None = None, at_once: bool = False, actor: Principal | None = None) -> Invoice | None:
    """Make the oldest draft final if its time has come, or `at_once`. The invoice; None where there was nothing to be done,
    or nothing on it. A transaction of the tenant's, of its own where it is the outermost.

    Its number is given with the books locked, when all else is done: whatever fails takes the number back with it."""
    moment = now or timezone.now()
    with transaction.atomic():
        draft = _oldest_draft()
        if draft is None or not (at_once or (draft.finalize_at and draft.finalize_at <= moment)):
            return None
        if not gather(draft):
            draft.delete()
            return None
        lock_books()
        terms = profiles.terms()
        draft.seller, draft.buyer = profiles.seller().body(), profiles.buyer().body()
        draft.tax_bps, draft.tax_name, draft.tax_note = terms.tax_bps, terms.tax_name, terms.tax_note
        draft.due_at = moment + timedelta(days=terms.due_days)
        finish(draft, moment)
        settling.settle_open()
        draft.refresh_from_db()
        record(
            action="invoice.final",
            subject_kind="invoice",
            subject_id=draft.id,
            actor=actor,
            data={"invoice": draft.label, "total_nano": draft.total_nano},
        )
        log.info("invoice_final", tenant=str(draft.tenant_id), invoice=draft.label, lines=draft.lines)
        return draft


def finish(document: Invoice, moment: datetime) -> None:
    """Give a document, with the books locked, its number, its tax and the entry of that, and make it final."""
    last = Invoice.objects.filter(kind=document.kind).aggregate(last=Max("number"))["last"] or 0
    slug = Tenant.objects.values_list("slug", flat=True).get(id=document.tenant_id)
    document.number = last + 1
    document.label = f"{slug.upper()}-{LETTERS[document.kind]}{document.number:06d}"
    if document.kind == "invoice":
        document.tax_nano = tax_of(document.net_nano, document.tax_bps)
        if document.tax_nano:
            post(Transfer(document.id, "tax", "customer", "tax", document.tax_nano))
    document.total_nano = document.net_nano + document.tax_nano
    document.state, document.final_at, document.finalize_at = "final", moment, None
    document.save()


def tax_of(net_nano: int, bps: int) -> int:
    """The tax on whole cents, rounded half up to whole cents."""
    return (net_nano // CENT * bps + BPS_MAX // 2) // BPS_MAX * CENT


def tell(invoice: Invoice, topic: str, *, subject: str, text: str, again: str = "", **more: object) -> None:
    """Tell those who may see invoices, and the address that the tenant named for them, once; once more for each `again`."""
    address = invoice.buyer.get("email", "")
    notify(
        tenant_id=invoice.tenant_id,
        topic=topic,
        once_key=f"{topic} {invoice.id} {again}".rstrip(),
        audience=Audience(permission="invoices.read", addresses=(address,) if address else ()),
        subject=subject,
        text=text,
        link=f"{LINK}/{invoice.id}",
        data={
            "invoice_id": str(invoice.id),
            "invoice": invoice.label,
            "kind": invoice.kind,
            "total_nano": invoice.total_nano,
            "due_nano": invoice.due_nano,
            "due_at": invoice.due_at.isoformat() if invoice.due_at else None,
        },
        **more,  # type: ignore[arg-type]
    )


def _oldest_draft() -> Invoice | None:
    """Locked until the transaction ends; None where another process has locked it."""
    oldest = chain().filter(state="draft").order_by("until").values_list("id", flat=True).first()
    if oldest is None:
        return None
    return Invoice.objects.select_for_update(skip_locked=True).filter(id=oldest, state="draft").first()
