"""The app `providers`, as Django knows it."""

from django.apps import AppConfig

from kernel import quota


class ProvidersConfig(AppConfig):
    """See the package's docstring."""

    name = "providers"

    def ready(self) -> None:
        """Name what a tenant is told of its semantic cache; have files count against their tenant's quota."""
        from kernel.outbox import consumed_by
        from providers.cache.semantic.audits import TOPIC
        from providers.cache.semantic.embedding import on_routes
        from providers.cache.semantic.routed import RouteEmbedder
        from providers.services.breaches import EVENT, tell_of_breach
        from tenants.notifications import event_type

        on_routes(RouteEmbedder)
        event_type(EVENT, "Audits found more wrong answers of the semantic cache than its stated rate allows.")
        consumed_by(TOPIC, "providers.notices", tell_of_breach)
        quota.counted("providers_file")
