"""What Stripe tells: who may say so, whose it is, and once each. https://docs.stripe.com/webhooks

An event says that something changed; how it stands now is asked of Stripe. So events may come late, twice and in any order.
The tenant is the one whose customer it is by our own table; what else an event claims counts for nothing."""

import hashlib
import time
import uuid

import msgspec
import structlog
from django.db import connection, transaction
from stripe import SignatureVerificationError, WebhookSignature

from billing.models import PaymentCustomer, PaymentEvent
from billing.payments.stripe.steps import PROVIDER, STEPS, Reader
from kernel.errors import InvalidRequest
from kernel.tenancy import tenant_scope

log = structlog.get_logger(__name__)

TOLERANCE_S = 300


class BadSignature(InvalidRequest):
    """This is not signed by the payment provider, or not now."""

    code = "bad_signature"


class _Named(msgspec.Struct):
    id: str = ""


class _Object(msgspec.Struct):
    """What an event is about. Ids may be given whole."""

    id: str = ""
    customer: str | _Named | None = None
    payment_intent: str | _Named | None = None


class _Data(msgspec.Struct):
    object: _Object


class _Event(msgspec.Struct):
    id: str
    type: str
    data: _Data


def take(*, body: bytes, signature: str, secret: str, reader: Reader) -> str:
    """Take an event: what became of it (`done`, `known`, `ignored`). Raises `BadSignature`, `InvalidRequest` for what is no
    event, and `PaymentsFailed` and `WrongCurrency`, after which Stripe tells it again."""
    _check(body, signature, secret)
    try:
        event = msgspec.json.decode(body, type=_Event)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest("This is no event.") from error
    step = STEPS.get(event.type)
    if step is None or not 0 < len(event.id) <= 200:
        return "ignored"
    about = event.data.object
    intent_id = _id(about.payment_intent)
    customer_id = _id(about.customer) or (reader.intent(intent_id).customer if intent_id else "")
    tenant_id = _tenant_of(customer_id)
    if tenant_id is None:
        log.warning("payment_event_of_nobody", event_type=event.type)
        return "ignored"
    with tenant_scope(tenant_id), transaction.atomic():
        _one_at_a_time(customer_id)
        _, is_new = PaymentEvent.objects.get_or_create(
            tenant_id=tenant_id, provider=PROVIDER, external_id=event.id, defaults={"kind": event.type[:100]}
        )
        if not is_new:
            return "known"
        customer = PaymentCustomer.objects.get(provider=PROVIDER, external_id=customer_id)
        step(reader, customer, about.id, intent_id)
    return "done"


def _check(body: bytes, signature: str, secret: str) -> None:
    try:
        WebhookSignature.verify_header(body, signature, secret, TOLERANCE_S)
    except (SignatureVerificationError, UnicodeDecodeError) as error:
        raise BadSignature from error
    # The library refuses what is too old; a time to come would be good for too long.
    sent = max(int(part[2:]) for part in signature.split(",") if part.startswith("t="))
    if sent > time.time() + TOLERANCE_S:
        raise BadSignature


def _tenant_of(customer_id: str) -> uuid.UUID | None:
    if not 0 < len(customer_id) <= 200:
        return None
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT lookup.tenant_of_payment_customer(%s, %s)", [PROVIDER, customer_id])
        row = cursor.fetchone()
    found: uuid.UUID | None = row[0]
    return found


def _one_at_a_time(customer_id: str) -> None:
    """Until the transaction ends, no other event of this customer's is worked on: what was asked of Stripe first isn't
    written last. Requests don't wait for this, the books are locked only when Stripe has answered."""
    lock = int.from_bytes(hashlib.sha256(f"stripe {customer_id}".encode()).digest()[:8], "big", signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [lock])


def _id(named: str | _Named | None) -> str:
    return named.id if isinstance(named, _Named) else named or ""
