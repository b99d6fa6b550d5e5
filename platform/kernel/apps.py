"""The app `kernel`, as Django knows it."""

from django.apps import AppConfig


class KernelConfig(AppConfig):
    """See the package's docstring."""

    name = "kernel"
