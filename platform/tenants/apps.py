"""The app `tenants`, as Django knows it."""

from django.apps import AppConfig


class TenantsConfig(AppConfig):
    """See the package's docstring."""

    name = "tenants"
