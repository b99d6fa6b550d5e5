"""Give somebody a membership in a tenant."""

from typing import Any

from django.core.management.base import CommandParser

from kernel.commands import ParleyCommand
from tenants.permissions import BUILTIN_ROLES
from tenants.services.provisioning import add_member


class Command(ParleyCommand):
    help = "Add a person to a tenant; a new person's password is shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--email", required=True)
        parser.add_argument("--role", default="member", choices=list(BUILTIN_ROLES))
        parser.add_argument("--name", default="")
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        made = add_member(slug=options["slug"], email=options["email"], role=options["role"], name=options["name"])
        self.answer(
            {"membership": str(made.membership.id), "person": made.person.email, "password": made.password},
            as_json=options["json"],
        )
