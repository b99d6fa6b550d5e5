"""The shapes of invoices in REST. Amounts are integer nano-USD."""

from typing import Any

from rest_framework import serializers

from billing.invoice_models import ADDRESS_CHARS_MAX, KINDS, LINE_KINDS, NAME_CHARS_MAX, STATES
from billing.invoices.profiles import Party, Terms
from billing.models import BillingProfile, Invoice
from kernel.api.serializers import StrictSerializer


class PartyOutput(serializers.Serializer[Any]):
    """A seller or a buyer, as the document names it."""

    name = serializers.CharField()
    address = serializers.CharField(help_text="In lines.")
    country = serializers.CharField()
    tax_id = serializers.CharField()
    email = serializers.CharField()
    reference = serializers.CharField()


class InvoiceOutput(serializers.Serializer[Any]):
    """An invoice, or a credit note. Of a draft amounts may change, and there is no tax yet."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(KINDS)
    state = serializers.ChoiceField(STATES)
    number = serializers.CharField(allow_null=True, help_text="Null for a draft.")
    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField()
    time_zone = serializers.CharField()
    currency = serializers.CharField()
    net_nano = serializers.IntegerField(help_text="Whole cents; of a credit note, what is given back.")
    tax_name = serializers.CharField()
    tax_bps = serializers.IntegerField(help_text="In hundredths of a percent.")
    tax_note = serializers.CharField()
    tax_nano = serializers.IntegerField()
    total_nano = serializers.IntegerField()
    due_nano = serializers.IntegerField(help_text="What is still to be paid.")
    lines = serializers.IntegerField(help_text="How many there are.")
    seller = PartyOutput(allow_null=True)
    buyer = PartyOutput(allow_null=True)
    corrects = serializers.UUIDField(allow_null=True, help_text="The invoice that a credit note is for.")
    replaces = serializers.UUIDField(allow_null=True, help_text="The void invoice in whose place this one is.")
    reason = serializers.CharField(help_text="Of a credit note, or for being void.")
    final_at = serializers.DateTimeField(allow_null=True)
    due_at = serializers.DateTimeField(allow_null=True)
    overdue_at = serializers.DateTimeField(allow_null=True)
    paid_at = serializers.DateTimeField(allow_null=True)
    void_at = serializers.DateTimeField(allow_null=True)


class NamedOutput(serializers.Serializer[Any]):
    """A member or an API key; the name is today's, null when it is gone."""

    id = serializers.UUIDField()
    name = serializers.CharField(allow_null=True)


class InvoiceLineOutput(serializers.Serializer[Any]):
    """An amount of an invoice, exact to the nano-dollar."""

    id = serializers.UUIDField()
    line = serializers.IntegerField()
    kind = serializers.ChoiceField(LINE_KINDS)
    description = serializers.CharField()
    day = serializers.DateField(allow_null=True)
    period_start = serializers.DateTimeField(allow_null=True, help_text="Of an adjustment: the period that it is of.")
    period_end = serializers.DateTimeField(allow_null=True)
    model = serializers.CharField()
    upstream_model = serializers.CharField()
    provider = serializers.CharField()
    connection = serializers.CharField()
    member = NamedOutput(allow_null=True)
    api_key = NamedOutput(allow_null=True)
    requests = serializers.IntegerField()
    tokens = serializers.DictField(child=serializers.IntegerField())
    prices = serializers.ListField(child=serializers.UUIDField(), help_text="The versions of prices charged by.")
    amount_nano = serializers.IntegerField()


class BillingProfileInput(StrictSerializer):
    """Who invoices are for."""

    name = serializers.CharField(max_length=NAME_CHARS_MAX, allow_blank=True, default="")
    address = serializers.CharField(max_length=ADDRESS_CHARS_MAX, allow_blank=True, default="", help_text="In lines.")
    country = serializers.RegexField(r"^([A-Z]{2})?$", allow_blank=True, default="", help_text="Two letters, ISO 3166.")
    tax_id = serializers.CharField(max_length=64, allow_blank=True, default="")
    email = serializers.EmailField(max_length=254, allow_blank=True, default="", help_text="Where invoices are sent.")
    reference = serializers.CharField(max_length=120, allow_blank=True, default="", help_text="A purchase order, say.")


class BillingProfileOutput(PartyOutput):
    """Who invoices are for, and the terms that the operator set."""

    tax_bps = serializers.IntegerField(help_text="In hundredths of a percent.")
    tax_name = serializers.CharField()
    tax_note = serializers.CharField()
    due_days = serializers.IntegerField(help_text="So many days an invoice may take to be paid.")


def invoice_body(document: Invoice) -> dict[str, Any]:
    """`InvoiceOutput`."""
    return {
        "id": str(document.id),
        "kind": document.kind,
        "state": document.state,
        "number": document.label or None,
        "period_start": document.since,
        "period_end": document.until,
        "time_zone": document.time_zone,
        "corrects": str(document.corrects_id) if document.corrects_id else None,
        "replaces": str(document.replaces_id) if document.replaces_id else None,
        "seller": document.seller or None,
        "buyer": document.buyer or None,
        **{name: getattr(document, name) for name in _AS_THEY_ARE},
    }


def profile_body(known: BillingProfile, terms: Terms) -> dict[str, Any]:
    """`BillingProfileOutput`."""
    party = Party(known.name, known.address, known.country, known.tax_id, known.email, known.reference)
    shown = {name: getattr(terms, name) for name in ("tax_bps", "tax_name", "tax_note", "due_days")}
    return {**party.body(), **shown}


_AS_THEY_ARE = (
    *(
        "currency",
        "net_nano",
        "tax_name",
        "tax_bps",
        "tax_note",
        "tax_nano",
        "total_nano",
        "due_nano",
        "lines",
        "reason",
    ),
    *("final_at", "due_at", "overdue_at", "paid_at", "void_at"),
)
