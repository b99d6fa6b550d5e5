"""Routes of models, below /api/v1/."""

from django.urls import path

from providers.api import views

urlpatterns = [path("models", views.ModelsView.as_view())]
