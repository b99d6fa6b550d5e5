"""The demo tenant of a first start on one's own machine."""

from typing import Any

from kernel.commands import ParleyCommand
from tenants.models import Tenant
from tenants.services.provisioning import PLATFORM, create_tenant

SLUG, NAME, EMAIL = "demo", "Demo Company", "admin@demo.example"


class Command(ParleyCommand):
    help = "Make the demo tenant if there is no tenant at all; print its admin's address and password this once."

    def handle(self, *args: Any, **options: Any) -> None:
        if Tenant.objects.using(PLATFORM).exists():
            return
        made = create_tenant(slug=SLUG, owner_email=EMAIL, name=NAME)
        self.stdout.write("A demo company is ready. Sign in as")
        self.stdout.write(f"  address   {made.owner.person.email}")
        self.stdout.write(f"  password  {made.owner.password}")
        self.stdout.write("This password is shown this once.")
