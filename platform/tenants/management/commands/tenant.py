"""The operator's view of tenants. Every use is written into the tenant's own audit."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from kernel.commands import ParleyCommand
from tenants.models import Tenant
from tenants.services import provisioning


class Command(ParleyCommand):
    help = "List, show, suspend, resume or limit tenants."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["list", "show", "suspend", "resume", "limit"])
        parser.add_argument("slug", nargs="?")
        parser.add_argument("amount", nargs="?", help="limit: US dollars a month, or `none`")
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
        self.answer(_row(self._act(action, slug, options["amount"])), as_json=options["json"])

    def _act(self, action: str, slug: str, amount: str | None) -> Tenant:
        if action == "suspend":
            return provisioning.set_tenant_status(slug=slug, status=Tenant.Status.SUSPENDED)
        if action == "resume":
            return provisioning.set_tenant_status(slug=slug, status=Tenant.Status.ACTIVE)
        if action == "limit":
            if amount is None:
                raise CommandError("tenant limit needs an amount in US dollars a month, or `none`")
            return provisioning.limit_tenant(slug=slug, monthly_usd=None if amount == "none" else amount)
        provisioning.audit_use(slug=slug, action="tenant.shown")
        return provisioning.tenant_by_slug(slug)


def _row(tenant: Tenant) -> dict[str, Any]:
    return {
        "tenant": str(tenant.id),
        "slug": tenant.slug,
        "name": tenant.name,
        "status": tenant.status,
        "monthly_limit_nano": tenant.monthly_limit_nano,
        "created_at": tenant.created_at.isoformat(),
    }
