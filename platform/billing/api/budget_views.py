"""Budgets, how they stand, and what was told of them."""

import uuid
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from billing.models import Alert, Budget
from billing.services import budgets
from billing.services.balances import account_balance
from billing.services.budgets import Subject, Terms
from kernel.api.pagination import paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import StrictSerializer, page_of
from kernel.api.views import TenantAPIView
from tenants.api.base import principal_of

_LIMIT_HELP = "In nano-USD (a billionth of a dollar) or in tokens, by `measure`."
_THRESHOLDS_HELP = "Percents of the limit at which people are told, each once in a period."


class BudgetScopeInput(StrictSerializer):
    """What a budget is for: `{"kind": "tenant"}`, a model by its alias, everything else by its id."""

    kind = serializers.ChoiceField(budgets.KINDS)
    id = serializers.UUIDField(required=False)
    model = serializers.CharField(required=False, max_length=budgets.ALIAS_CHARS_MAX)


class BudgetScopeOutput(serializers.Serializer[Any]):
    """What a budget is for. `funds` is what was paid or given in advance."""

    kind = serializers.ChoiceField((*budgets.KINDS, "funds"))
    id = serializers.UUIDField(allow_null=True)
    model = serializers.CharField(allow_null=True)


class BudgetChanges(StrictSerializer):
    """What may change of a budget."""

    name = serializers.CharField(required=False, max_length=120, allow_blank=True)
    limit = serializers.IntegerField(min_value=0, max_value=budgets.LIMIT_MAX, help_text=_LIMIT_HELP, required=False)
    mode = serializers.ChoiceField(("hard", "soft", "shadow"), required=False)
    thresholds = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=budgets.THRESHOLD_MAX_PERCENT),
        required=False,
        max_length=budgets.THRESHOLDS_MAX,
        help_text=_THRESHOLDS_HELP,
    )
    active = serializers.BooleanField(required=False)


class BudgetInput(BudgetChanges):
    """A new budget. `hard` refuses what would pass the limit, `soft` only tells, `shadow` counts what it would refuse."""

    scope = BudgetScopeInput()
    measure = serializers.ChoiceField(("nano", "tokens"), default="nano")
    period = serializers.ChoiceField(("day", "month", "total"), default="month")
    limit = serializers.IntegerField(min_value=0, max_value=budgets.LIMIT_MAX, help_text=_LIMIT_HELP)


class BudgetBalanceOutput(serializers.Serializer[Any]):
    """How a budget stands in the present period, which begins and ends at midnight in the tenant's time zone."""

    held = serializers.IntegerField(help_text="For requests under way.")
    settled = serializers.IntegerField(help_text="Used.")
    available = serializers.IntegerField()
    would_refuse = serializers.IntegerField(help_text="Requests that a shadow budget would have refused.")
    period_start = serializers.DateField()
    period_end = serializers.DateField(
        allow_null=True, help_text="The first day of the next period; null: there is none."
    )


class BudgetOutput(serializers.Serializer[Any]):
    """A budget and how it stands. The tenant changes those it owns itself."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    scope = BudgetScopeOutput()
    measure = serializers.ChoiceField(("nano", "tokens"))
    period = serializers.ChoiceField(("day", "month", "total"))
    limit = serializers.IntegerField(help_text=_LIMIT_HELP)
    mode = serializers.ChoiceField(("hard", "soft", "shadow"))
    thresholds = serializers.ListField(child=serializers.IntegerField(), help_text=_THRESHOLDS_HELP)
    owner = serializers.ChoiceField(("tenant", "operator", "plan"))
    active = serializers.BooleanField()
    balance = BudgetBalanceOutput()
    created_at = serializers.DateTimeField()


class BudgetAlertOutput(serializers.Serializer[Any]):
    """A budget passed a threshold, or refused its first request of a period."""

    id = serializers.UUIDField()
    budget = serializers.UUIDField()
    kind = serializers.ChoiceField(("threshold", "refused"))
    threshold = serializers.IntegerField(allow_null=True, help_text="Percent of the limit.")
    period_start = serializers.DateField()
    settled = serializers.IntegerField(help_text="By then, in the budget's measure.")
    limit = serializers.IntegerField()
    at = serializers.DateTimeField()
    told_at = serializers.DateTimeField(allow_null=True)


class AccountBalanceOutput(serializers.Serializer[Any]):
    """The tenant's account, in nano-USD."""

    owed_nano = serializers.IntegerField(help_text="What the tenant owes; negative where it has paid in advance.")
    month_nano = serializers.IntegerField(help_text="Charged for usage in this month, in the tenant's time zone.")
    month_start = serializers.DateField()
    funds_nano = serializers.IntegerField(
        allow_null=True,
        help_text="Left of what was paid or given in advance; null where nothing is refused for want of it.",
    )


def budget_body(budget: Any) -> dict[str, Any]:
    """`BudgetOutput`, of a row of `budgets_of`."""
    subject = Subject.of(budget.scope)
    return {
        "id": str(budget.id),
        "name": budget.name,
        "scope": {"kind": subject.kind, "id": str(subject.id) if subject.id else None, "model": subject.model},
        "measure": budget.measure,
        "period": budget.period,
        "limit": budget.limit_amount,
        "mode": budget.mode,
        "thresholds": budget.thresholds,
        "owner": budget.owner,
        "active": budget.active,
        "balance": {
            "held": budget.held,
            "settled": budget.settled,
            "available": max(0, budget.limit_amount - budget.held - budget.settled),
            "would_refuse": budget.would_refuse,
            "period_start": budget.since,
            "period_end": budgets.period_end(budget.period, budget.since),
        },
        "created_at": budget.created_at,
    }


def alert_body(alert: Alert) -> dict[str, Any]:
    """`BudgetAlertOutput`."""
    return {
        "id": str(alert.id),
        "budget": str(alert.budget_id),
        "kind": "threshold" if alert.threshold else "refused",
        "threshold": alert.threshold or None,
        "period_start": alert.period_start,
        "settled": alert.settled,
        "limit": alert.limit_amount,
        "at": alert.at,
        "told_at": alert.told_at,
    }


class BudgetsView(TenantAPIView):
    """The budgets that the caller may see: with `usage.read` all, else those that apply to themselves."""

    permissions = {"GET": "usage.read_own", "POST": "budgets.manage"}

    @extend_schema(
        operation_id="budgets_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(BudgetOutput(many=True), "BudgetPage"),
        tags=["billing"],
    )
    def get(self, request: Request) -> Response:
        rows = budgets.budgets_of(principal_of(request))
        return Response(paginate(request, rows, render=budget_body, descending=True).body())

    @extend_schema(operation_id="budgets_create", request=BudgetInput, responses={201: BudgetOutput}, tags=["billing"])
    def post(self, request: Request) -> Response:
        given = BudgetInput(data=request.data)
        given.is_valid(raise_exception=True)
        asked = given.validated_data
        caller = principal_of(request)
        made = budgets.create_budget(
            caller=caller,
            subject=Subject(**asked["scope"]),
            measure=asked["measure"],
            period=asked["period"],
            terms=Terms(
                name=asked.get("name", ""),
                limit=asked["limit"],
                mode=asked.get("mode", "hard"),
                thresholds=tuple(asked.get("thresholds", (50, 80, 100))),
                active=asked.get("active", True),
            ),
        )
        return Response(_shown(request, made), status=status.HTTP_201_CREATED)


class BudgetView(TenantAPIView):
    """One budget."""

    permissions = {"GET": "usage.read_own", "PATCH": "budgets.manage", "DELETE": "budgets.manage"}

    @extend_schema(operation_id="budgets_get", responses=BudgetOutput, tags=["billing"])
    def get(self, request: Request, budget_id: uuid.UUID) -> Response:
        return Response(budget_body(budgets.access_budget(caller=principal_of(request), budget_id=budget_id)))

    @extend_schema(operation_id="budgets_update", request=BudgetChanges, responses=BudgetOutput, tags=["billing"])
    def patch(self, request: Request, budget_id: uuid.UUID) -> Response:
        given = BudgetChanges(data=request.data)
        given.is_valid(raise_exception=True)
        changes = dict(given.validated_data)
        if "thresholds" in changes:
            changes["thresholds"] = tuple(changes["thresholds"])
        changed = budgets.change_budget(caller=principal_of(request), budget_id=budget_id, changes=changes)
        return Response(_shown(request, changed))

    @extend_schema(operation_id="budgets_delete", responses={204: None}, tags=["billing"])
    def delete(self, request: Request, budget_id: uuid.UUID) -> Response:
        budgets.delete_budget(caller=principal_of(request), budget_id=budget_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class BudgetAlertsView(TenantAPIView):
    """What was told of the budgets that the caller may see, newest first."""

    permissions = {"GET": "usage.read_own"}

    @extend_schema(
        operation_id="budget_alerts_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(BudgetAlertOutput(many=True), "BudgetAlertPage"),
        tags=["billing"],
    )
    def get(self, request: Request) -> Response:
        alerts = budgets.alerts_of(principal_of(request))
        return Response(paginate(request, alerts, render=alert_body, descending=True).body())


class BalanceView(TenantAPIView):
    """The tenant's account."""

    permissions = {"GET": "usage.read"}

    @extend_schema(operation_id="billing_balance", responses=AccountBalanceOutput, tags=["billing"])
    def get(self, request: Request) -> Response:
        balance = account_balance()
        return Response(
            {
                "owed_nano": balance.owed_nano,
                "month_nano": balance.month_nano,
                "month_start": balance.month_start,
                "funds_nano": balance.funds_nano,
            }
        )


def _shown(request: Request, budget: Budget) -> dict[str, Any]:
    return budget_body(budgets.access_budget(caller=principal_of(request), budget_id=budget.id))
