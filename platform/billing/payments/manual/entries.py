"""What an operator, or whoever may, enters as paid. `reference` names the payment (of the bank, of the invoice): it is entered
once, however often it is said."""

from billing.models import Invoice, Payment
from billing.services.payments import Received, receive, went_back
from kernel.errors import Conflict, InvalidRequest, NotFound
from tenants.principals import Principal

PROVIDER = "manual"


def top_up(*, amount_nano: int, reference: str, actor: Principal | None = None) -> tuple[Payment, bool]:
    """Credit that was paid for in some other way; whether it is new. Raises as `receive`."""
    return receive(Received(PROVIDER, _checked(reference), "top_up", amount_nano), actor=actor)


def mark_paid(*, amount_nano: int, reference: str, actor: Principal | None = None) -> tuple[Payment, bool]:
    """Something due (an invoice, a fee) was paid, and the subscription goes on; whether it is new. Raises as `receive`."""
    return receive(Received(PROVIDER, _checked(reference), "invoice", amount_nano), actor=actor)


def pay_invoice(
    invoice: Invoice, *, amount_nano: int | None, reference: str, actor: Principal | None = None
) -> tuple[Payment, bool]:
    """An invoice, or some of it, was paid (None: all that was due); whether that is new. What is more than it comes to pays
    others. Raises as `receive`."""
    known = _known(_checked(reference)) if amount_nano is None else None
    if known is not None:
        if (known.purpose, known.note) != ("invoice", invoice.label):
            raise Conflict("A payment of this name was entered for something else.")
        return known, False
    due_nano = invoice.due_nano if amount_nano is None else amount_nano
    received = Received(PROVIDER, _checked(reference), "invoice", due_nano, note=invoice.label, invoice_id=invoice.id)
    return receive(received, actor=actor)


def refund(*, reference: str, total_nano: int, actor: Principal | None = None) -> int:
    """Of a payment that was entered by hand `total_nano` went back in all; by how much that is new. Raises `NotFound`."""
    payment = _known(reference)
    if payment is None:
        raise NotFound("There is no payment of this reference.")
    return went_back(payment, kind="refund", total_nano=total_nano, actor=actor)


def _known(reference: str) -> Payment | None:
    return Payment.objects.select_related("grant").filter(provider=PROVIDER, external_id=reference).first()


def _checked(reference: str) -> str:
    if not (0 < len(reference) <= 200 and reference.isprintable()):
        raise InvalidRequest("reference: 1 to 200 printable characters are needed.", details={"param": "reference"})
    return reference
