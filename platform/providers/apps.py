"""The app `providers`, as Django knows it."""

from django.apps import AppConfig


class ProvidersConfig(AppConfig):
    """See the package's docstring."""

    name = "providers"
