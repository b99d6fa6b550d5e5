"""Show what the platform offers: connections, models, what providers say that they serve, and what is wrong."""

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from kernel.commands import ParleyCommand
from providers.services.offers import PAGE, OfferedConnection, connections_offered

PUBLISHED_SHOWN = 20


class Command(ParleyCommand):
    help = "Show the platform's connections, their models, and what keeps a model from being used."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--after", default="", metavar="NAME", help=f"those after this name; {PAGE} are shown at a time"
        )
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        page = connections_offered(after=options["after"])
        after = page[-1].name if len(page) == PAGE else None
        if options["json"]:
            self.answer({"connections": [asdict(one) for one in page], "after": after}, as_json=True)
            return
        for connection in page:
            self._show(connection)
        if after is not None:
            self.stdout.write(f"There may be more: --after {after}")

    def _show(self, connection: OfferedConnection) -> None:
        self.stdout.write(f"{connection.name} ({connection.kind}, {connection.base_url})")
        for model in connection.models:
            problems = f"  ! {'; '.join(model.problems)}" if model.problems else ""
            self.stdout.write(f"  {model.model}: {', '.join(model.aliases) or '-'}{problems}")
        if connection.published_at is not None:
            shown = ", ".join(connection.published[:PUBLISHED_SHOWN])
            more = len(connection.published) - PUBLISHED_SHOWN
            self.stdout.write(
                f"  serves, as of {connection.published_at:%Y-%m-%d %H:%M} UTC: {shown or 'nothing'}"
                f"{f' and {more} more' if more > 0 else ''}"
            )
