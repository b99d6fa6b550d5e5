"""The operator's way to forget cached answers. Every use is written into the tenants' own audit."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from kernel.commands import ParleyCommand
from providers.services.cache import invalidate_tenants


class Command(ParleyCommand):
    help = "Forget the cached answers of one tenant or of all, or of one model of theirs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG")
        parser.add_argument("--all", action="store_true", help="every tenant's")
        parser.add_argument("--model", metavar="ALIAS", help="of this model alone")
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if bool(options["tenant"]) == options["all"]:
            raise CommandError("name a tenant by --tenant, or say --all")
        count = invalidate_tenants(slug=options["tenant"], model=options["model"])
        self.answer({"tenants": count}, as_json=options["json"])
