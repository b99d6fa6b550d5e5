"""Routes of models and limits, below /api/v1/."""

from django.urls import path

from providers.api import limits, views

urlpatterns = [
    path("models", views.ModelsView.as_view()),
    path("limits", limits.LimitsView.as_view()),
    path("limits/<uuid:limit_id>", limits.LimitView.as_view()),
]
