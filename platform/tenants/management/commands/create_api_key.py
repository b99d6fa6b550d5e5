"""Make an API key for a tenant's owner."""

from typing import Any, get_args

from django.core.management.base import CommandParser
from django.db import transaction

from kernel.commands import ParleyCommand
from kernel.tenancy import tenant_scope
from tenants.principals import Priority
from tenants.services.api_keys import issue_key
from tenants.services.audit import record
from tenants.services.provisioning import PLATFORM, owner_of, tenant_by_slug


class Command(ParleyCommand):
    help = "Make an API key that acts for the tenant's owner. It is shown this once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug")
        parser.add_argument("--name", required=True)
        parser.add_argument(
            "--scope", action="append", dest="scopes", help="repeatable; the default scopes unless given"
        )
        parser.add_argument("--max-priority", choices=get_args(Priority), default="normal")
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_by_slug(options["slug"])
        owner = owner_of(tenant.id)
        with tenant_scope(tenant.id), transaction.atomic(using=PLATFORM):
            key = issue_key(
                membership=owner,
                name=options["name"],
                scopes=options["scopes"],
                max_priority=options["max_priority"],
                using=PLATFORM,
            )
            record(action="api_key.created", subject_kind="api_key", subject_id=key.row.id, using=PLATFORM)
        self.answer({"id": str(key.row.id), "api_key": key.text}, as_json=options["json"])
