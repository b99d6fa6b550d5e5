"""Routes of models, below /api/v1/."""

from django.urls import path

from providers.api import routing, views

urlpatterns = [
    path("models", views.ModelsView.as_view()),
    path("model-roles", routing.ModelRolesView.as_view()),
    path("routes", routing.RoutesView.as_view()),
    path("routes/<uuid:route_id>", routing.RouteView.as_view()),
    path("providers/status", routing.ProvidersStatusView.as_view()),
]
