"""The tenant's plan, its credit and its payments."""

from django.conf import settings
from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from billing.api.plan_serializers import (
    CheckoutInput,
    CheckoutOutput,
    CreditGrantOutput,
    PaymentOptionsOutput,
    PaymentOutput,
    PlanOutput,
    PlanPreviewOutput,
    PreviewInput,
    SubscriptionChanges,
    SubscriptionInput,
    SubscriptionOutput,
    TopUpInput,
    checkout_body,
    grant_body,
    payment_body,
    plan_body,
    preview_body,
    subscription_body,
)
from billing.models import CreditGrant, Payment, Plan, Subscription
from billing.services import checkouts, plan_previews, subscriptions
from billing.services.plans import plan_by_slug
from billing.services.subscriptions import NoSubscription
from kernel.api.pagination import paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import page_of
from kernel.api.views import TenantAPIView, without_transaction
from tenants.api.base import principal_of


def wanted_plan(slug: str, found: Subscription | None) -> Plan:
    """The plan of this name: who has an older version of it stays with that. Raises `NotFound`."""
    has_it = found is not None and found.state != "cancelled" and found.plan.slug == slug
    return found.plan if found is not None and has_it else plan_by_slug(slug, only_offered=True)


class PlansView(TenantAPIView):
    """The plans that may be chosen."""

    permissions = {"GET": "billing.read"}

    @extend_schema(
        operation_id="billing_plans",
        parameters=PAGE_PARAMETERS,
        responses=page_of(PlanOutput(many=True), "PlanPage"),
        tags=["billing"],
    )
    def get(self, request: Request) -> Response:
        return Response(paginate(request, Plan.objects.filter(is_offered=True), render=plan_body).body())


class SubscriptionView(TenantAPIView):
    """The tenant's subscription."""

    permissions = {"GET": "billing.read", "PUT": "billing.manage", "PATCH": "billing.manage"}

    @extend_schema(operation_id="billing_subscription", responses=SubscriptionOutput, tags=["billing"])
    def get(self, request: Request) -> Response:
        found = Subscription.objects.select_related("plan", "next_plan").first()
        if found is None:
            raise NoSubscription
        return Response(subscription_body(found))

    @extend_schema(
        operation_id="billing_subscription_set",
        description="Begin a subscription, or change it. What costs as much or more begins at once, what costs less with the "
        "next period. Where payments are taken online, a plan that costs something is begun by a checkout; from then on it is "
        "changed here, and what the change costs is collected at once.",
        request=SubscriptionInput,
        responses=SubscriptionOutput,
        tags=["billing"],
    )
    @without_transaction
    def put(self, request: Request) -> Response:
        given = SubscriptionInput(data=request.data)
        given.is_valid(raise_exception=True)
        caller, seats = principal_of(request), given.validated_data.get("seats")
        with transaction.atomic():
            found = Subscription.objects.select_related("plan").first()
            plan = wanted_plan(given.validated_data["plan"], found)
            if not checkouts.is_paid_online() or checkouts.is_as_it_was(plan, seats, found):
                checkouts.check_paid_for(plan, seats, found)
                if found is None:
                    changed = subscriptions.subscribe(plan=plan, seats=seats or 1, actor=caller)
                else:
                    subscriptions.keep(actor=caller)
                    changed = subscriptions.change_plan(plan=plan, seats=seats, actor=caller)
                return Response(subscription_body(changed))
        # The provider is asked outside of all transactions.
        return Response(subscription_body(checkouts.change_paid_plan(caller=caller, plan=plan, seats=seats)))

    @extend_schema(
        operation_id="billing_subscription_change",
        request=SubscriptionChanges,
        responses=SubscriptionOutput,
        tags=["billing"],
    )
    @without_transaction
    def patch(self, request: Request) -> Response:
        given = SubscriptionChanges(data=request.data)
        given.is_valid(raise_exception=True)
        caller = principal_of(request)
        if given.validated_data["cancel_at_period_end"]:
            checkouts.stop_paying(at_period_end=True)
            with transaction.atomic():
                changed = subscriptions.cancel(actor=caller)
                return Response(subscription_body(changed))
        with transaction.atomic():
            checkouts.check_not_paid_online()
            return Response(subscription_body(subscriptions.keep(actor=caller)))


class PlanPreviewsView(TenantAPIView):
    """What choosing a plan would come to. Nothing is changed."""

    permissions = {"POST": "billing.read"}

    @extend_schema(
        operation_id="billing_plan_preview", request=PreviewInput, responses=PlanPreviewOutput, tags=["billing"]
    )
    def post(self, request: Request) -> Response:
        given = PreviewInput(data=request.data)
        given.is_valid(raise_exception=True)
        slug, seats = given.validated_data["plan"], given.validated_data["seats"]
        plan = wanted_plan(slug, Subscription.objects.select_related("plan").first())
        return Response(preview_body(plan, seats, plan_previews.preview(plan=plan, seats=seats)))


class PaymentOptionsView(TenantAPIView):
    """How payments are taken."""

    permissions = {"GET": "billing.read"}

    @extend_schema(operation_id="billing_payment_options", responses=PaymentOptionsOutput, tags=["billing"])
    def get(self, request: Request) -> Response:
        return Response({"online": bool(settings.STRIPE_SECRET_KEY)})


class CreditsView(TenantAPIView):
    """Credit that was given or bought, newest first."""

    permissions = {"GET": "billing.read"}

    @extend_schema(
        operation_id="billing_credits",
        parameters=PAGE_PARAMETERS,
        responses=page_of(CreditGrantOutput(many=True), "CreditGrantPage"),
        tags=["billing"],
    )
    def get(self, request: Request) -> Response:
        return Response(paginate(request, CreditGrant.objects.all(), render=grant_body, descending=True).body())


class PaymentsView(TenantAPIView):
    """What was paid, newest first."""

    permissions = {"GET": "billing.read"}

    @extend_schema(
        operation_id="billing_payments",
        parameters=PAGE_PARAMETERS,
        responses=page_of(PaymentOutput(many=True), "PaymentPage"),
        tags=["billing"],
    )
    def get(self, request: Request) -> Response:
        found = Payment.objects.prefetch_related("returns")
        return Response(paginate(request, found, render=payment_body, descending=True).body())


class TopUpsView(TenantAPIView):
    """Buying credit."""

    permissions = {"POST": "billing.manage"}

    @extend_schema(
        operation_id="billing_top_up",
        description="A page where it is paid. The credit is there when the payment has come in.",
        request=TopUpInput,
        responses={201: CheckoutOutput},
        tags=["billing"],
    )
    @without_transaction
    def post(self, request: Request) -> Response:
        given = TopUpInput(data=request.data)
        given.is_valid(raise_exception=True)
        begun = checkouts.begin_top_up(caller=principal_of(request), amount_nano=given.validated_data["amount_nano"])
        return Response(checkout_body(begun), status=status.HTTP_201_CREATED)


class CheckoutsView(TenantAPIView):
    """Beginning to pay for a plan."""

    permissions = {"POST": "billing.manage"}

    @extend_schema(
        operation_id="billing_checkout",
        description="A page where a plan is paid each month. It is the tenant's when the first payment has come in.",
        request=CheckoutInput,
        responses={201: CheckoutOutput},
        tags=["billing"],
    )
    @without_transaction
    def post(self, request: Request) -> Response:
        given = CheckoutInput(data=request.data)
        given.is_valid(raise_exception=True)
        with transaction.atomic():
            plan = plan_by_slug(given.validated_data["plan"], only_offered=True)
        begun = checkouts.begin_subscription(
            caller=principal_of(request), plan=plan, seats=given.validated_data["seats"]
        )
        return Response(checkout_body(begun), status=status.HTTP_201_CREATED)
