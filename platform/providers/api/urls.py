"""Routes of models, connections and the cache, below /api/v1/."""

from django.urls import path

from providers.api import access_views, cache, connection_views, limits, policies, prices, routing, semantic, views

urlpatterns = [
    path("models", views.ModelsView.as_view()),
    path("billing/prices", prices.PricesView.as_view()),
    path("billing/price-simulations", prices.PriceSimulationsView.as_view()),
    path("limits", limits.LimitsView.as_view()),
    path("limits/<uuid:limit_id>", limits.LimitView.as_view()),
    path("cache", cache.CacheView.as_view()),
    path("cache/stats", cache.CacheStatsView.as_view()),
    path("cache/stats/reset", cache.CacheStatsResetView.as_view()),
    path("cache/invalidate", cache.CacheInvalidateView.as_view()),
    path("cache/warm-up", cache.CacheWarmUpView.as_view()),
    path("cache/entries", cache.CacheEntriesView.as_view()),
    path("cache/entries/<uuid:entry_id>", cache.CacheEntryView.as_view()),
    path("cache/entries/<uuid:entry_id>/wrong", semantic.WrongView.as_view()),
    path("cache/semantic", semantic.SemanticView.as_view()),
    path("cache/semantic/entries", semantic.SemanticEntriesView.as_view()),
    path("cache/semantic/export", semantic.ExportView.as_view()),
    path("cache/semantic/warm-up", semantic.SemanticWarmUpView.as_view()),
    path("model-roles", routing.ModelRolesView.as_view()),
    path("routes", routing.RoutesView.as_view()),
    path("routes/<uuid:route_id>", routing.RouteView.as_view()),
    path("providers/status", routing.ProvidersStatusView.as_view()),
    path("guardrails", policies.GuardrailsView.as_view()),
    path("requests", policies.RequestsView.as_view()),
    path("requests/<uuid:request_id>", policies.RequestView.as_view()),
    path("route-access", access_views.RouteAccessesView.as_view()),
    path("route-access/<path:alias>", access_views.RouteAccessView.as_view()),
    path("connections", connection_views.ConnectionsView.as_view()),
    path("connections/<uuid:connection_id>", connection_views.ConnectionView.as_view()),
    path("connections/<uuid:connection_id>/test", connection_views.ConnectionTestView.as_view()),
    path("connections/<uuid:connection_id>/models", connection_views.PublishedModelsView.as_view()),
    path("connections/<uuid:connection_id>/deployments", connection_views.DeploymentsView.as_view()),
    path(
        "connections/<uuid:connection_id>/deployments/<uuid:deployment_id>", connection_views.DeploymentView.as_view()
    ),
]
