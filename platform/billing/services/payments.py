"""Money that comes in and goes back, whoever brought it: the books, the credit it buys, and the plan that goes on.

What a provider tells is how things stand, not what changed: told twice, late or in another order it comes to the same."""

import uuid
from dataclasses import dataclass

from django.utils import timezone

from billing.invoices import settling
from billing.models import Payment, PaymentReturn, Subscription
from billing.plan_models import MAX_NANO
from billing.posting import Transfer, lock_books, post
from billing.services import dunning, funds
from kernel.errors import Conflict, InvalidRequest
from kernel.tenancy import current_tenant_id
from tenants.principals import Principal
from tenants.services.audit import record


@dataclass(frozen=True, slots=True)
class Received:
    """A payment that came in. `(provider, external_id)` names it: it comes in once."""

    provider: str
    external_id: str
    purpose: str
    amount_nano: int
    note: str = ""
    invoice_id: uuid.UUID | None = None
    """The invoice that it pays first; the others in their order."""


def receive(received: Received, *, actor: Principal | None = None) -> tuple[Payment, bool]:
    """Enter a payment, once: with what it buys, and whether it is new. A top-up becomes credit; any other pays invoices, and
    the subscription goes on where none of them is overdue any more.

    Raises `InvalidRequest` for an amount that can't be, and `Conflict` for a name that was used for another payment.
    """
    if not 0 < received.amount_nano <= MAX_NANO:
        raise InvalidRequest(f"An amount from 1 to {MAX_NANO} nano-dollars is needed.", details={"param": "amount"})
    lock_books()
    known = Payment.objects.filter(provider=received.provider, external_id=received.external_id).first()
    if known is not None:
        if (known.purpose, known.amount_nano) != (received.purpose, received.amount_nano):
            raise Conflict("A payment of this name was entered with another amount or purpose.")
        return known, False
    payment = Payment(
        tenant_id=current_tenant_id(),
        provider=received.provider,
        external_id=received.external_id,
        purpose=received.purpose,
        amount_nano=received.amount_nano,
        note=received.note[:200],
    )
    post(Transfer(payment.id, "payment", "cash", "customer", payment.amount_nano))
    if payment.purpose == "top_up":
        payment.grant, _ = funds.add_grant(
            amount_nano=payment.amount_nano, source="topup", key=f"payment {payment.id}", is_paid=True
        )
    payment.save(force_insert=True)
    _note(payment, "payment.received", actor)
    if payment.purpose != "top_up":
        settling.settle_open(first=received.invoice_id)
        dunning.go_on(actor=actor)
    return payment, True


def went_back(
    payment: Payment, *, kind: str, total_nano: int, external_id: str = "", actor: Principal | None = None
) -> int:
    """Enter that of a payment `total_nano` went back by refunds in all (`kind` refund), or by a dispute, which is less than
    before when some came in again. By how much that differs from what was known.

    Raises `InvalidRequest` for more than was paid.
    """
    if not 0 <= total_nano <= payment.amount_nano:
        raise InvalidRequest("No more can go back than was paid.", details={"param": "amount"})
    lock_books()
    known = PaymentReturn.objects.filter(payment=payment, kind=kind, external_id=external_id).first()
    if known is None:
        known = PaymentReturn(tenant_id=current_tenant_id(), payment=payment, kind=kind, external_id=external_id)
    change = total_nano - known.amount_nano
    if not change:
        return 0
    accounts = ("customer", "cash") if change > 0 else ("cash", "customer")
    post(Transfer(known.id, kind, *accounts, abs(change), line=known.steps, reverses=payment.id))
    if payment.grant is not None:
        if change > 0:
            known.owed_nano += funds.take_back(payment.grant, amount_nano=change)
        else:
            again = min(known.owed_nano, -change)
            funds.give_again(payment.grant, amount_nano=-change, owed_nano=again)
            known.owed_nano -= again
    known.amount_nano = total_nano
    known.steps += 1
    known.save()
    was_overdue = settling.is_overdue()
    if change > 0:
        settling.take_back(payment)
    # What is open again is paid by what else there is: the credit note, say, for which the money went back.
    settling.settle_open()
    _note(payment, f"payment.{'returned' if change > 0 else 'return_undone'}", actor, kind=kind, change_nano=change)
    if change > 0 and kind == "dispute" and Subscription.objects.exists():
        dunning.payment_failed(reason="a payment is disputed", actor=actor, now=timezone.now())
    elif change < 0 and (was_overdue or (kind == "dispute" and not total_nano)):
        dunning.go_on(actor=actor)
    return change


def _note(payment: Payment, action: str, actor: Principal | None, **data: object) -> None:
    known = {"provider": payment.provider, "purpose": payment.purpose, "amount_nano": payment.amount_nano}
    record(action=action, subject_kind="payment", subject_id=payment.id, actor=actor, data={**known, **data})
