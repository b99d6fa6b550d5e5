"""Counts a tenant's rollups anew."""

from typing import Any

from django.core.management.base import CommandParser

from billing.rollups import rebuild
from kernel.commands import ParleyCommand
from tenants.services.provisioning import tenant_by_slug


class Command(ParleyCommand):
    help = "Forget a tenant's sums of usage and count them anew from its records, as after a difference was found."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="the tenant's")
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_by_slug(options["slug"])
        rebuild(tenant_id=tenant.id)
        self.answer({"tenant": tenant.slug, "rollups": "counted anew"}, as_json=options["json"])
