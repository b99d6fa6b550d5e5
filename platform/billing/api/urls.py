"""Routes of billing, below /api/v1/."""

from django.urls import path

from billing.api import (
    budget_views,
    invoice_files,
    invoice_views,
    plan_views,
    report_views,
    traced_usage,
    views,
    webhook_views,
)

urlpatterns = [
    path("usage", views.UsageView.as_view()),
    path("billing/usage", traced_usage.TracedUsageView.as_view()),
    path("billing/reports/usage", report_views.UsageReportView.as_view()),
    path("billing/reports/top", report_views.TopReportView.as_view()),
    path("billing/reports/forecast", report_views.ForecastView.as_view()),
    path("billing/reports/anomalies", report_views.AnomaliesView.as_view()),
    path("billing/balance", budget_views.BalanceView.as_view()),
    path("billing/budgets", budget_views.BudgetsView.as_view()),
    path("billing/budgets/<uuid:budget_id>", budget_views.BudgetView.as_view()),
    path("billing/plans", plan_views.PlansView.as_view()),
    path("billing/subscription", plan_views.SubscriptionView.as_view()),
    path("billing/plan-previews", plan_views.PlanPreviewsView.as_view()),
    path("billing/payment-options", plan_views.PaymentOptionsView.as_view()),
    path("billing/credits", plan_views.CreditsView.as_view()),
    path("billing/payments", plan_views.PaymentsView.as_view()),
    path("billing/top-ups", plan_views.TopUpsView.as_view()),
    path("billing/checkouts", plan_views.CheckoutsView.as_view()),
    path("billing/stripe/webhook", webhook_views.StripeWebhookView.as_view()),
    path("billing/profile", invoice_views.BillingProfileView.as_view()),
    path("billing/invoices", invoice_views.InvoicesView.as_view()),
    path("billing/invoices/<uuid:invoice_id>", invoice_views.InvoiceView.as_view()),
    path("billing/invoices/<uuid:invoice_id>/checkout", invoice_views.InvoiceCheckoutView.as_view()),
    path("billing/invoices/<uuid:invoice_id>/lines", invoice_views.InvoiceLinesView.as_view()),
    path("billing/invoices/<uuid:invoice_id>/lines/<uuid:line_id>/usage", invoice_views.LineUsageView.as_view()),
    path("billing/invoices/<uuid:invoice_id>/pdf", invoice_files.InvoicePdfView.as_view()),
    path("billing/invoices/<uuid:invoice_id>/csv", invoice_files.InvoiceCsvView.as_view()),
    path("billing/invoices/<uuid:invoice_id>/json", invoice_files.InvoiceJsonView.as_view()),
    path("billing/alerts", budget_views.BudgetAlertsView.as_view()),
]
