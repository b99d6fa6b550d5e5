"""What was paid, through whom, and what went back."""

from typing import Any, ClassVar

from django.db import models

from billing.plan_models import MAX_NANO, CreditGrant, Plan
from kernel.constraints import TenantForeignKey
from kernel.models import TenantModel, unique_in_tenant

PURPOSES = ("top_up", "subscription", "invoice")
RETURN_KINDS = ("refund", "dispute")


class PaymentCustomer(TenantModel):
    """Who a tenant is to a payment provider. What the provider tells of its `external_id` is the tenant's, and of no other."""

    provider = models.CharField(max_length=16)
    external_id = models.CharField(max_length=200)
    subscription_ref = models.CharField(
        max_length=200, default="", blank=True, help_text="the provider's subscription that pays for the plan"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("payment_customer"),
            models.UniqueConstraint(fields=["provider", "external_id"], name="payment_customer_key"),
        ]
        indexes: ClassVar[list[Any]] = [models.Index(fields=["tenant", "provider"], name="payment_customer_of")]


class Checkout(TenantModel):
    """A page of the provider's that somebody was sent to, and what for: what is paid there counts as this says, whatever the
    page's own fields say."""

    provider = models.CharField(max_length=16)
    external_id = models.CharField(max_length=200)
    purpose = models.CharField(max_length=16, choices=[(one, one) for one in PURPOSES])
    amount_nano = models.BigIntegerField(default=0)
    invoice = models.ForeignKey(
        "billing.Invoice",
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
        db_index=False,
        help_text="the one that it pays first",
    )
    plan = models.ForeignKey(Plan, null=True, on_delete=models.PROTECT, related_name="+", db_index=False)
    seats = models.PositiveIntegerField(default=1)
    membership_id = models.UUIDField(null=True, help_text="who began it")
    done_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("checkout"),
            models.UniqueConstraint(fields=["tenant", "provider", "external_id"], name="checkout_key"),
            TenantForeignKey(name="checkout_invoice_fk", field="invoice"),
            models.CheckConstraint(name="checkout_purpose", condition=models.Q(purpose__in=PURPOSES)),
        ]


class Payment(TenantModel):
    """Money that came in. In the books with its own id as the source; `grant` is the credit that it bought."""

    provider = models.CharField(max_length=16)
    external_id = models.CharField(max_length=200, help_text="the provider's name for it; known once")
    purpose = models.CharField(max_length=16, choices=[(one, one) for one in PURPOSES])
    amount_nano = models.BigIntegerField()
    grant = models.ForeignKey(
        CreditGrant, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    note = models.CharField(max_length=200, default="", blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("payment"),
            models.UniqueConstraint(fields=["tenant", "provider", "external_id"], name="payment_key"),
            TenantForeignKey(name="payment_grant_fk", field="grant"),
            models.CheckConstraint(name="payment_purpose", condition=models.Q(purpose__in=PURPOSES)),
            models.CheckConstraint(name="payment_amount", condition=models.Q(amount_nano__range=(1, MAX_NANO))),
        ]


class PaymentReturn(TenantModel):
    """What of a payment went back: by refunds (all together), or by one dispute. `amount_nano` is how it stands now; in the
    books each step has its own entry (`steps` so far). `owed_nano` of it had been used."""

    payment = models.ForeignKey(
        Payment, on_delete=models.DO_NOTHING, db_constraint=False, related_name="returns", db_index=False
    )
    kind = models.CharField(max_length=8, choices=[(one, one) for one in RETURN_KINDS])
    external_id = models.CharField(max_length=200, help_text="of a dispute; empty for refunds")
    amount_nano = models.BigIntegerField(default=0)
    owed_nano = models.BigIntegerField(default=0)
    steps = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("payment_return"),
            models.UniqueConstraint(fields=["tenant", "payment", "kind", "external_id"], name="payment_return_key"),
            TenantForeignKey(name="payment_return_payment_fk", field="payment"),
            models.CheckConstraint(name="payment_return_kind", condition=models.Q(kind__in=RETURN_KINDS)),
            models.CheckConstraint(
                name="payment_return_parts",
                condition=models.Q(amount_nano__gte=0, owed_nano__gte=0),
            ),
        ]


class PaymentEvent(TenantModel):
    """What a provider told, by its own id: each has its effect once."""

    provider = models.CharField(max_length=16)
    external_id = models.CharField(max_length=200)
    kind = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("payment_event"),
            models.UniqueConstraint(fields=["tenant", "provider", "external_id"], name="payment_event_key"),
        ]
