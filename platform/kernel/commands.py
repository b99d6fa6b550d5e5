"""What Parley's own management commands share: clear errors, and `--json`."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from kernel.errors import ParleyError


class ParleyCommand(BaseCommand):
    """A command that calls one service and prints its answer; a domain error becomes one line and exit code 1."""

    requires_system_checks = []
    requires_migrations_checks = False

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except ParleyError as error:
            raise CommandError(error.message) from error

    def add_json_flag(self, parser: ArgumentParser) -> None:
        """Declare `--json`."""
        parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")

    def answer(self, body: dict[str, Any], *, as_json: bool) -> None:
        """Print `body` as JSON, or a line per entry."""
        if as_json:
            self.stdout.write(json.dumps(body, default=str))
            return
        for name, value in body.items():
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            self.stdout.write(f"{name:<12} {'-' if shown is None else shown}")
