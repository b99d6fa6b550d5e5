"""Routes of models and connections, below /api/v1/."""

from django.urls import path

from providers.api import access_views, connection_views, views

urlpatterns = [
    path("models", views.ModelsView.as_view()),
    path("route-access", access_views.RouteAccessesView.as_view()),
    path("route-access/<path:alias>", access_views.RouteAccessView.as_view()),
    path("connections", connection_views.ConnectionsView.as_view()),
    path("connections/<uuid:connection_id>", connection_views.ConnectionView.as_view()),
    path("connections/<uuid:connection_id>/test", connection_views.ConnectionTestView.as_view()),
    path("connections/<uuid:connection_id>/deployments", connection_views.DeploymentsView.as_view()),
    path(
        "connections/<uuid:connection_id>/deployments/<uuid:deployment_id>", connection_views.DeploymentView.as_view()
    ),
]
