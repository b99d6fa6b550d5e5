"""Routes of billing, below /api/v1/."""

from django.urls import path

from billing.api import budget_views, views

urlpatterns = [
    path("usage", views.UsageView.as_view()),
    path("billing/balance", budget_views.BalanceView.as_view()),
    path("billing/budgets", budget_views.BudgetsView.as_view()),
    path("billing/budgets/<uuid:budget_id>", budget_views.BudgetView.as_view()),
    path("billing/alerts", budget_views.BudgetAlertsView.as_view()),
]
