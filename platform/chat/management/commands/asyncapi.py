"""`manage.py asyncapi`: the protocol of the socket as an AsyncAPI document, for docs/asyncapi.json."""

from typing import Any

from django.core.management.base import BaseCommand

from chat.realtime.asyncapi import published


class Command(BaseCommand):
    """Write it to standard output."""

    help = "Write the AsyncAPI document of the socket."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Write it."""
        self.stdout.write(published().decode(), ending="")
