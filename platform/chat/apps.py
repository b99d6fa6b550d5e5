"""The app `chat`, as Django knows it."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    """See the package's docstring."""

    name = "chat"
