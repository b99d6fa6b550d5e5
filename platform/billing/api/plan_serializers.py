"""The shapes of plans, subscriptions, credit and payments in REST. Amounts are integer nano-USD."""

from datetime import timedelta
from typing import Any

from rest_framework import serializers

from billing.models import CreditGrant, Payment, Plan, Subscription
from billing.plan_models import GRANT_SOURCES, MAX_NANO, MAX_SEATS, PLAN_KINDS, SUBSCRIPTION_STATES
from billing.services.checkouts import Begun
from billing.services.plan_previews import Preview
from kernel.api.serializers import StrictSerializer


class PlanOutput(serializers.Serializer[Any]):
    """What the platform offers."""

    id = serializers.UUIDField()
    slug = serializers.CharField()
    version = serializers.IntegerField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(PLAN_KINDS)
    price_nano = serializers.IntegerField(help_text="A month; of `seat` for each seat.")
    included_nano = serializers.IntegerField(help_text="Credit that is given each period.")
    trial_days = serializers.IntegerField()
    max_seats = serializers.IntegerField()


class SubscriptionOutput(serializers.Serializer[Any]):
    """The tenant's subscription."""

    id = serializers.UUIDField()
    plan = PlanOutput()
    state = serializers.ChoiceField(SUBSCRIPTION_STATES)
    seats = serializers.IntegerField()
    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField()
    next_plan = serializers.CharField(allow_null=True, help_text="With the next period.")
    next_seats = serializers.IntegerField(allow_null=True)
    cancel_at_period_end = serializers.BooleanField()
    past_due_since = serializers.DateTimeField(allow_null=True)
    suspended_from = serializers.DateTimeField(allow_null=True, help_text="Unless what is due is paid before.")


class SubscriptionInput(StrictSerializer):
    """The plan to have. The one that is in force, to take back what was to change."""

    plan = serializers.CharField(max_length=64)
    seats = serializers.IntegerField(min_value=1, max_value=MAX_SEATS, required=False)


class SubscriptionChanges(StrictSerializer):
    """Whether it is to end with its period."""

    cancel_at_period_end = serializers.BooleanField()


class PreviewInput(StrictSerializer):
    """The plan that is thought of."""

    plan = serializers.CharField(max_length=64)
    seats = serializers.IntegerField(min_value=1, max_value=MAX_SEATS, default=1)


class PlanPreviewOutput(serializers.Serializer[Any]):
    """What choosing a plan would come to, if it were done now."""

    plan = PlanOutput()
    seats = serializers.IntegerField()
    starts_at = serializers.DateTimeField()
    charge_nano = serializers.IntegerField(
        help_text="When it begins; for the rest of the period, if that is within one."
    )
    back_nano = serializers.IntegerField(help_text="Given back of what was paid for the rest of this period.")
    credit_nano = serializers.IntegerField(help_text="Given when it begins.")
    fee_nano = serializers.IntegerField(help_text="Of each whole period.")
    trial_ends_at = serializers.DateTimeField(allow_null=True)
    checkout = serializers.BooleanField(help_text="It is begun by a checkout.")


class PaymentOptionsOutput(serializers.Serializer[Any]):
    """How payments are taken."""

    online = serializers.BooleanField(help_text="There are checkouts and top-ups; else ask whoever runs the platform.")


class CreditGrantOutput(serializers.Serializer[Any]):
    """Credit that was given or bought."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(GRANT_SOURCES)
    amount_nano = serializers.IntegerField()
    used_nano = serializers.IntegerField(
        help_text="As of when credit last changed; what was used since is drawn later."
    )
    expired_nano = serializers.IntegerField()
    withdrawn_nano = serializers.IntegerField(help_text="Taken back with its payment.")
    expires_at = serializers.DateTimeField(allow_null=True)
    note = serializers.CharField()
    created_at = serializers.DateTimeField()


class PaymentOutput(serializers.Serializer[Any]):
    """Money that came in."""

    id = serializers.UUIDField()
    provider = serializers.CharField()
    purpose = serializers.ChoiceField(("top_up", "subscription", "invoice"))
    amount_nano = serializers.IntegerField()
    returned_nano = serializers.IntegerField(help_text="By refunds and disputes.")
    reference = serializers.CharField()
    created_at = serializers.DateTimeField()


class TopUpInput(StrictSerializer):
    """How much credit to buy."""

    amount_nano = serializers.IntegerField(
        min_value=1, max_value=MAX_NANO, help_text="Whole cents: multiples of 10,000,000."
    )


class CheckoutInput(StrictSerializer):
    """The plan to begin paying for."""

    plan = serializers.CharField(max_length=64)
    seats = serializers.IntegerField(min_value=1, max_value=MAX_SEATS, default=1)


class CheckoutOutput(serializers.Serializer[Any]):
    """Where to pay."""

    id = serializers.UUIDField()
    url = serializers.URLField()


def plan_body(plan: Plan) -> dict[str, Any]:
    """`PlanOutput`."""
    return {
        "id": str(plan.id),
        "slug": plan.slug,
        "version": plan.version,
        "name": plan.name,
        "kind": plan.kind,
        "price_nano": plan.price_nano,
        "included_nano": plan.included_nano,
        "trial_days": plan.trial_days,
        "max_seats": plan.max_seats,
    }


def subscription_body(sub: Subscription) -> dict[str, Any]:
    """`SubscriptionOutput`."""
    since = sub.past_due_since
    return {
        "id": str(sub.id),
        "plan": plan_body(sub.plan),
        "state": sub.state,
        "seats": sub.seats,
        "period_start": sub.period_start,
        "period_end": sub.period_end,
        "next_plan": sub.next_plan.slug if sub.next_plan else None,
        "next_seats": sub.next_seats,
        "cancel_at_period_end": sub.cancel_at_period_end,
        "past_due_since": since,
        "suspended_from": since + timedelta(days=sub.plan.grace_days) if since else None,
    }


def preview_body(plan: Plan, seats: int, found: Preview) -> dict[str, Any]:
    """`PlanPreviewOutput`."""
    return {
        "plan": plan_body(plan),
        "seats": seats,
        "starts_at": found.starts_at,
        "charge_nano": found.charge_nano,
        "back_nano": found.back_nano,
        "credit_nano": found.credit_nano,
        "fee_nano": found.fee_nano,
        "trial_ends_at": found.trial_ends_at,
        "checkout": found.is_checkout,
    }


def grant_body(grant: CreditGrant) -> dict[str, Any]:
    """`CreditGrantOutput`."""
    return {
        "id": str(grant.id),
        "kind": grant.source,
        "amount_nano": grant.amount_nano,
        "used_nano": grant.allocated_nano,
        "expired_nano": grant.expired_nano,
        "withdrawn_nano": grant.withdrawn_nano,
        "expires_at": grant.expires_at,
        "note": grant.note,
        "created_at": grant.created_at,
    }


def payment_body(payment: Payment) -> dict[str, Any]:
    """`PaymentOutput`, of a payment with its `returns`."""
    return {
        "id": str(payment.id),
        "provider": payment.provider,
        "purpose": payment.purpose,
        "amount_nano": payment.amount_nano,
        "returned_nano": sum(one.amount_nano for one in payment.returns.all()),
        "reference": payment.external_id,
        "created_at": payment.created_at,
    }


def checkout_body(begun: Begun) -> dict[str, Any]:
    """`CheckoutOutput`."""
    return {"id": str(begun.checkout.id), "url": begun.url}
