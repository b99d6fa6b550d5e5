"""Make a tenant, with its owner and a first API key."""

from typing import Any

from django.core.management.base import CommandParser

from kernel.commands import ParleyCommand
from tenants.services.provisioning import create_tenant


class Command(ParleyCommand):
    help = "Make a tenant with an owner and a first API key. Password and key are shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--owner", required=True, metavar="EMAIL")
        parser.add_argument("--name", default="", help="the company's name; the slug unless given")
        parser.add_argument("--time-zone", default="UTC", help="in which its days, months and periods begin")
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        made = create_tenant(
            slug=options["slug"],
            owner_email=options["owner"],
            name=options["name"],
            time_zone=options["time_zone"],
        )
        self.answer(
            {
                "tenant": str(made.tenant.id),
                "slug": made.tenant.slug,
                "owner": made.owner.person.email,
                "password": made.owner.password,
                "api_key": made.api_key,
            },
            as_json=options["json"],
        )
