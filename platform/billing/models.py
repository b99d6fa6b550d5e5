"""The price book, and the append-only record of what was used."""

from typing import Any, ClassVar

from django.db import models

from billing.invoice_models import BillingProfile, Invoice, InvoiceLine, InvoicePayment, InvoiceSchedule
from billing.ledger_models import Account, Alert, Budget, BudgetBalance, Entry, Hold
from billing.payment_models import Checkout, Payment, PaymentCustomer, PaymentEvent, PaymentReturn
from billing.plan_models import CreditGrant, Funds, Plan, PlanCharge, Subscription
from billing.report_models import RollupMark, UsageRollup, Verification
from billing.tiers import TIER_PATTERN
from billing.types import PRICED_METERS
from kernel.ids import uuid7
from kernel.models import TenantModel, unique_in_tenant

__all__ = (
    "Account",
    "Alert",
    "BillingProfile",
    "Budget",
    "BudgetBalance",
    "Checkout",
    "CreditGrant",
    "Entry",
    "Funds",
    "Hold",
    "Invoice",
    "InvoiceLine",
    "InvoicePayment",
    "InvoiceSchedule",
    "Payment",
    "PaymentCustomer",
    "PaymentEvent",
    "PaymentReturn",
    "Plan",
    "PlanCharge",
    "Price",
    "PriceBook",
    "RollupMark",
    "Subscription",
    "TenantPrice",
    "UsageRecord",
    "UsageRollup",
    "Verification",
)

_METER_CHECK = models.Q(meter__in=PRICED_METERS)
_TIER_CHECK = models.Q(tier__regex=TIER_PATTERN)
_NOT_NEGATIVE = models.Q(cost_nano_per_mtok__gte=0, sell_nano_per_mtok__gte=0)


class PriceBook(models.Model):
    """A set of prices of the platform. `standard` is the one in force for platform connections."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=64, unique=True)


class PriceTerms(models.Model):
    """What a million tokens of one meter of one model cost and are sold at, from a moment on, until a later price."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model = models.CharField(max_length=200, help_text="connection/upstream model")
    meter = models.CharField(max_length=16)
    tier = models.CharField(max_length=32, default="standard")
    effective_from = models.DateTimeField()
    cost_nano_per_mtok = models.BigIntegerField()
    sell_nano_per_mtok = models.BigIntegerField()

    class Meta:
        abstract = True


class Price(PriceTerms):
    """A price of the platform. Immutable: a correction is a new price with a later `effective_from`."""

    book = models.ForeignKey(PriceBook, on_delete=models.PROTECT, related_name="prices", db_index=False)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            models.UniqueConstraint(fields=["book", "model", "meter", "tier", "effective_from"], name="price_key"),
            models.CheckConstraint(name="price_meter", condition=_METER_CHECK),
            models.CheckConstraint(name="price_tier", condition=_TIER_CHECK),
            models.CheckConstraint(name="price_not_negative", condition=_NOT_NEGATIVE),
        ]


class TenantPrice(PriceTerms, TenantModel):
    """A price for a tenant's own connection. Immutable."""

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("tenant_price"),
            models.UniqueConstraint(
                fields=["tenant", "model", "meter", "tier", "effective_from"], name="tenant_price_key"
            ),
            models.CheckConstraint(name="tenant_price_meter", condition=_METER_CHECK),
            models.CheckConstraint(name="tenant_price_tier", condition=_TIER_CHECK),
            models.CheckConstraint(name="tenant_price_not_negative", condition=_NOT_NEGATIVE),
        ]


class UsageRecord(models.Model):
    """One attempt at a provider. Append-only; partitioned by month of `request_id` (a UUIDv7), so its key is unique for ever.

    It names members, keys and rooms without foreign keys: what was used stays on the bill when they are gone.
    """

    pk = models.CompositePrimaryKey("tenant_id", "request_id", "attempt", "kind")
    tenant_id = models.UUIDField()
    request_id = models.UUIDField()
    attempt = models.SmallIntegerField()
    kind = models.CharField(max_length=16)
    id = models.UUIDField(default=uuid7, help_text="orders the list")
    at = models.DateTimeField()
    status = models.CharField(max_length=16)
    principal_kind = models.CharField(max_length=16)
    membership_id = models.UUIDField()
    api_key_id = models.UUIDField(null=True)
    subject_kind = models.CharField(max_length=32, null=True)  # noqa: DJ001 - no subject is not an empty one
    subject_id = models.UUIDField(null=True)
    alias = models.CharField(max_length=200)
    provider = models.CharField(max_length=64)
    connection = models.CharField(max_length=120)
    model = models.CharField(max_length=200)
    platform_paid = models.BooleanField(help_text="through a connection of the platform, not the tenant's own key")
    input = models.BigIntegerField()
    cache_read = models.BigIntegerField()
    cache_write = models.BigIntegerField()
    output = models.BigIntegerField()
    reasoning = models.BigIntegerField()
    cost_nano = models.BigIntegerField()
    sell_nano = models.BigIntegerField(help_text="what the customer is charged")
    loss_nano = models.BigIntegerField(
        default=0, help_text="what would have been charged, had it been seen and held for"
    )
    charge_lines = models.JSONField(default=list)
    estimated = models.BooleanField()
    streamed = models.BooleanField()
    latency_ms = models.IntegerField()
    ttft_ms = models.IntegerField(null=True)
    finish_reason = models.CharField(max_length=32, null=True)  # noqa: DJ001
    error_code = models.CharField(max_length=64, null=True)  # noqa: DJ001
    provider_usage = models.JSONField(null=True)
    cache = models.CharField(max_length=16, default="bypass", help_text="how the answer was come by")

    class Meta:
        managed = False
        db_table = "billing_usagerecord"
