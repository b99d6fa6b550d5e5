"""The app `config`, as Django knows it."""

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """See the package's docstring."""

    name = "config"
