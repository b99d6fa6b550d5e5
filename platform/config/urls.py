"""Django's routes. /v1 and the sockets are routed ahead of Django (`config.asgi`)."""

from django.urls import URLPattern, URLResolver, include, path, re_path
from drf_spectacular.views import SpectacularAPIView

from chat.share_page import SharePageView
from config.browser_app import BrowserAppView, DocsView

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include("tenants.api.urls")),
    path("api/v1/", include("billing.api.urls")),
    path("api/v1/", include("providers.api.urls")),
    path("api/v1/", include("chat.api.urls")),
    path("share/<str:token>", SharePageView.as_view()),
    path("api/schema/", SpectacularAPIView.as_view(authentication_classes=()), name="schema"),
    path("api/docs/", DocsView.as_view(), name="docs"),
    # Every other page is the browser app's own to route.
    re_path(r"^(?!api/|v1/|ws$|assets/|static/|healthz$|readyz$).*$", BrowserAppView.as_view()),
]

handler400 = "kernel.api.errors.bad_request"
handler404 = "kernel.api.errors.not_found"
handler500 = "kernel.api.errors.server_error"
