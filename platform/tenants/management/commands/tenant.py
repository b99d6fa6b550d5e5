"""The operator's view of tenants. Every use is written into the tenant's own audit."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from kernel.commands import ParleyCommand
from tenants.models import Tenant
from tenants.services import provisioning


class Command(ParleyCommand):
    help = "List, show, suspend, resume or limit tenants; set a tenant's time zone."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["list", "show", "suspend", "resume", "limit", "time-zone"])
        parser.add_argument("slug", nargs="?")
        parser.add_argument(
            "value", nargs="?", help="limit: US dollars a month, or `none`; time-zone: such as Europe/Berlin"
        )
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        action, slug = options["action"], options["slug"]
        if action == "list":
            for tenant in provisioning.all_tenants():
                self.answer(_row(tenant), as_json=True) if options["json"] else self.stdout.write(
                    f"{tenant.slug:<32} {tenant.status:<10} {tenant.name}"
                )
            return
        if not slug:
            raise CommandError(f"tenant {action} needs the tenant's slug")
        self.answer(_row(self._act(action, slug, options["value"])), as_json=options["json"])

    def _act(self, action: str, slug: str, value: str | None) -> Tenant:
        if action == "suspend":
            return provisioning.set_tenant_status(slug=slug, status=Tenant.Status.SUSPENDED)
        if action == "resume":
            return provisioning.set_tenant_status(slug=slug, status=Tenant.Status.ACTIVE)
        if action == "limit":
            if value is None:
                raise CommandError("tenant limit needs an amount in US dollars a month, or `none`")
            return provisioning.limit_tenant(slug=slug, monthly_usd=None if value == "none" else value)
        if action == "time-zone":
            if value is None:
                raise CommandError("tenant time-zone needs the name of one, such as Europe/Berlin")
            return provisioning.set_time_zone(slug=slug, time_zone=value)
        provisioning.audit_use(slug=slug, action="tenant.shown")
        return provisioning.tenant_by_slug(slug)


def _row(tenant: Tenant) -> dict[str, Any]:
    return {
        "tenant": str(tenant.id),
        "slug": tenant.slug,
        "name": tenant.name,
        "status": tenant.status,
        "time_zone": tenant.timezone,
        "monthly_limit_nano": tenant.monthly_limit_nano,
        "created_at": tenant.created_at.isoformat(),
    }
