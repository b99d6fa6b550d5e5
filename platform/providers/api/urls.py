"""Routes of models and of the cache, below /api/v1/."""

from django.urls import path

from providers.api import cache, views

urlpatterns = [
    path("models", views.ModelsView.as_view()),
    path("cache", cache.CacheView.as_view()),
    path("cache/stats", cache.CacheStatsView.as_view()),
    path("cache/stats/reset", cache.CacheStatsResetView.as_view()),
    path("cache/invalidate", cache.CacheInvalidateView.as_view()),
    path("cache/warm-up", cache.CacheWarmUpView.as_view()),
    path("cache/entries", cache.CacheEntriesView.as_view()),
    path("cache/entries/<uuid:entry_id>", cache.CacheEntryView.as_view()),
]
