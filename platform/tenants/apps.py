"""The app `tenants`, as Django knows it."""

from django.apps import AppConfig


class TenantsConfig(AppConfig):
    """See the package's docstring."""

    name = "tenants"

    def ready(self) -> None:
        """Name the topics of the outbox that are this app's."""
        from tenants.notifications import channels

        channels.register()
