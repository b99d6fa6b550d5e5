"""Routes of models, below /api/v1/."""

from django.urls import path

from providers.api import policies, views

urlpatterns = [
    path("models", views.ModelsView.as_view()),
    path("guardrails", policies.GuardrailsView.as_view()),
    path("requests", policies.RequestsView.as_view()),
    path("requests/<uuid:request_id>", policies.RequestView.as_view()),
]
