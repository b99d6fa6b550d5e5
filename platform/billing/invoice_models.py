"""What a tenant is asked to pay: invoices, credit notes, their lines, and what was paid of them."""

from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from billing.payment_models import Payment
from billing.plan_models import PlanCharge
from kernel.constraints import TenantForeignKey
from kernel.models import TenantModel, unique_in_tenant

KINDS = ("invoice", "credit_note")
STATES = ("draft", "final", "paid", "void")
LINE_KINDS = ("plan", "usage", "adjustment", "credit", "carried_in", "carried_out", "correction")
"""In the order in which they are listed. An `adjustment` is usage of a period whose invoice was final before it was known."""
NAME_CHARS_MAX, ADDRESS_CHARS_MAX = 200, 500
BPS_MAX = 10_000


def _choices(values: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(value, value) for value in values]


class BillingProfile(TenantModel):
    """Who a tenant's invoices are for, as it says; and how it is taxed and when it pays, as the operator says (null: as
    everybody). The one whose key is `default` is in force."""

    key = models.CharField(max_length=32, default="default")
    name = models.CharField(max_length=NAME_CHARS_MAX, blank=True, default="")
    address = models.CharField(max_length=ADDRESS_CHARS_MAX, blank=True, default="", help_text="in lines")
    country = models.CharField(max_length=2, blank=True, default="", help_text="ISO 3166, two letters")
    tax_id = models.CharField(max_length=64, blank=True, default="")
    email = models.CharField(max_length=254, blank=True, default="", help_text="where invoices are sent")
    reference = models.CharField(max_length=120, blank=True, default="", help_text="a purchase order, for instance")
    tax_bps = models.IntegerField(null=True, help_text="tax rate in hundredths of a percent")
    tax_note = models.CharField(max_length=200, blank=True, default="", help_text="why a rate of nothing, for instance")
    due_days = models.PositiveSmallIntegerField(null=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("billing_profile"),
            models.UniqueConstraint(fields=["tenant", "key"], name="billing_profile_key"),
            models.CheckConstraint(
                name="billing_profile_tax", condition=models.Q(tax_bps=None) | models.Q(tax_bps__range=(0, BPS_MAX))
            ),
            models.CheckConstraint(
                name="billing_profile_due", condition=models.Q(due_days=None) | models.Q(due_days__lte=365)
            ),
        ]


class InvoiceSchedule(TenantModel):
    """When the next look is due whether a tenant without a subscription has a month to be closed (`months`)."""

    name = models.CharField(max_length=32, default="months")
    next_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("invoice_schedule"),
            models.UniqueConstraint(fields=["tenant", "name"], name="invoice_schedule_key"),
        ]


class Invoice(TenantModel):
    """What is asked for a period `[since, until)`, or (`credit_note`) what of an invoice is given back, in whole cents.

    A record of usage is on the first invoice that ends after it was used, and whose `until_tx` is above the transaction that
    wrote it; so on exactly one, for ever. A draft may change; what is final, the database keeps as it is but for what
    becomes of it. One that was `replaced` counts no more: another has its lines.
    """

    kind = models.CharField(max_length=12, choices=_choices(KINDS), default="invoice")
    state = models.CharField(max_length=8, choices=_choices(STATES), default="draft")
    number = models.PositiveIntegerField(null=True, help_text="counts the tenant's documents of a kind, without gaps")
    label = models.CharField(max_length=80, default="", blank=True, help_text="the number as people see it")
    since = models.DateTimeField()
    until = models.DateTimeField()
    since_tx = models.BigIntegerField(default=0)
    until_tx = models.BigIntegerField(null=True, help_text="null: its lines were not gathered yet")
    time_zone = models.CharField(max_length=64)
    corrects = models.ForeignKey(
        "self", null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="credit_notes", db_index=False
    )
    replaces = models.ForeignKey(
        "self", null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    replaced = models.BooleanField(default=False)
    reason = models.CharField(max_length=200, default="", blank=True, help_text="of a credit note, or for being void")
    seller = models.JSONField(default=dict)
    buyer = models.JSONField(default=dict)
    currency = models.CharField(max_length=3, default="USD")
    tax_name = models.CharField(max_length=40, default="", blank=True)
    tax_bps = models.IntegerField(default=0)
    tax_note = models.CharField(max_length=200, default="", blank=True)
    credit_mark_nano = models.BigIntegerField(default=0, help_text="the credit drawn by its end since the beginning")
    credited_nano = models.BigIntegerField(default=0, help_text="of that, what it and those before it took off")
    net_nano = models.BigIntegerField(default=0)
    tax_nano = models.BigIntegerField(default=0)
    total_nano = models.BigIntegerField(default=0)
    carry_nano = models.BigIntegerField(
        default=0, help_text="what it left to the next one: less than a cent, or credit"
    )
    lines = models.IntegerField(default=0)
    settled_nano = models.BigIntegerField(default=0, help_text="paid of it; of a credit note, used")
    created_at = models.DateTimeField(db_default=Now())
    finalize_at = models.DateTimeField(null=True)
    final_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField(null=True)
    overdue_at = models.DateTimeField(null=True, help_text="when it was noticed that nobody paid")
    paid_at = models.DateTimeField(null=True)
    void_at = models.DateTimeField(null=True)
    written_at = models.DateTimeField(null=True, help_text="when its PDF was made")

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("invoice"),
            models.UniqueConstraint(fields=["tenant", "kind", "number"], name="invoice_number"),
            models.UniqueConstraint(
                fields=["tenant", "until"], name="invoice_period", condition=models.Q(kind="invoice", replaced=False)
            ),
            TenantForeignKey(name="invoice_corrects_fk", field="corrects"),
            TenantForeignKey(name="invoice_replaces_fk", field="replaces"),
            models.CheckConstraint(name="invoice_kind", condition=models.Q(kind__in=KINDS)),
            models.CheckConstraint(name="invoice_state", condition=models.Q(state__in=STATES)),
            models.CheckConstraint(
                name="invoice_numbered",
                condition=models.Q(state="draft", number=None)
                | (~models.Q(state="draft") & models.Q(number__gte=1, until_tx__isnull=False)),
            ),
            models.CheckConstraint(
                name="invoice_amounts",
                condition=models.Q(total_nano=models.F("net_nano") + models.F("tax_nano"), tax_bps__range=(0, BPS_MAX)),
            ),
            models.CheckConstraint(
                name="invoice_settled",
                condition=models.Q(settled_nano__gte=0)
                & ~models.Q(state="paid", settled_nano__lt=models.F("total_nano")),
            ),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["finalize_at"], name="invoice_drafts", condition=models.Q(state="draft")),
            models.Index(fields=["due_at"], name="invoice_due", condition=models.Q(state="final", overdue_at=None)),
            models.Index(
                fields=["final_at"], name="invoice_unwritten", condition=models.Q(written_at=None, number__gte=1)
            ),
        ]

    @property
    def due_nano(self) -> int:
        """What is still to be paid."""
        return self.total_nano - self.settled_nano if self.kind == "invoice" and self.state == "final" else 0


class InvoiceLine(TenantModel):
    """An amount of an invoice, in exact nano-USD. A line of usage is the sum of a day's records of one model, connection,
    member and key at the same `prices`: these columns find its records again."""

    invoice = models.ForeignKey(
        Invoice, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    position = models.IntegerField()
    kind = models.CharField(max_length=12, choices=_choices(LINE_KINDS))
    description = models.CharField(max_length=200, default="", blank=True)
    amount_nano = models.BigIntegerField()
    charge = models.ForeignKey(
        PlanCharge, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    period_since = models.DateTimeField(null=True, help_text="of an adjustment: the period that it is of")
    period_until = models.DateTimeField(null=True)
    day = models.DateField(null=True, help_text="in the invoice's time zone")
    alias = models.CharField(max_length=200, default="", blank=True)
    model = models.CharField(max_length=200, default="", blank=True)
    provider = models.CharField(max_length=64, default="", blank=True)
    connection = models.CharField(max_length=120, default="", blank=True)
    membership_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)
    prices = ArrayField(
        models.UUIDField(), default=list, help_text="the versions of prices that were charged by, in order"
    )
    attempts = models.BigIntegerField(default=0)
    input = models.BigIntegerField(default=0)
    cache_read = models.BigIntegerField(default=0)
    cache_write = models.BigIntegerField(default=0)
    output = models.BigIntegerField(default=0)
    reasoning = models.BigIntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("invoice_line"),
            models.UniqueConstraint(fields=["tenant", "invoice", "position"], name="invoice_line_position"),
            TenantForeignKey(name="invoice_line_invoice_fk", field="invoice", on_delete="CASCADE"),
            TenantForeignKey(name="invoice_line_charge_fk", field="charge"),
            models.CheckConstraint(name="invoice_line_kind", condition=models.Q(kind__in=LINE_KINDS)),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant", "charge"], name="invoice_line_charge", condition=~models.Q(charge=None))
        ]


class InvoicePayment(TenantModel):
    """That a payment, or a credit note, pays so much of an invoice; less than nothing where that was undone."""

    invoice = models.ForeignKey(
        Invoice, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    payment = models.ForeignKey(
        Payment, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    credit_note = models.ForeignKey(
        Invoice, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    amount_nano = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[Any]] = [
            unique_in_tenant("invoice_payment"),
            TenantForeignKey(name="invoice_payment_invoice_fk", field="invoice"),
            TenantForeignKey(name="invoice_payment_payment_fk", field="payment"),
            TenantForeignKey(name="invoice_payment_note_fk", field="credit_note"),
            models.CheckConstraint(
                name="invoice_payment_source",
                condition=models.Q(payment__isnull=False, credit_note=None)
                | models.Q(payment=None, credit_note__isnull=False),
            ),
            models.CheckConstraint(name="invoice_payment_amount", condition=~models.Q(amount_nano=0)),
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["tenant", "invoice"], name="invoice_payment_of"),
            models.Index(fields=["tenant", "payment"], name="invoice_payment_from"),
        ]
