"""The app `billing`, as Django knows it."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """See the package's docstring."""

    name = "billing"
