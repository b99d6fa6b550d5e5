"""A tenant's credit, and payments that are entered by hand."""

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from billing.models import CreditGrant
from billing.payments.manual import entries
from billing.services import funds
from kernel.commands import ParleyCommand
from kernel.tenancy import tenant_scope
from tenants.services.audit import record
from tenants.services.provisioning import tenant_by_slug, usd_to_nano

MAX_DAYS = 36_500


class Command(ParleyCommand):
    help = "Give credit, enter payments and refunds, show how a tenant's credit stands. The same reference counts once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["give", "top-up", "paid", "refund", "show"])
        parser.add_argument("slug", help="the tenant's")
        parser.add_argument("amount", nargs="?", help="US dollars; refund: of that payment in all")
        parser.add_argument("--reference", help="of the bank or the invoice; give: what it is for, once")
        parser.add_argument("--days", type=int, help="give: until it expires")
        parser.add_argument("--refund", action="store_true", help="give: as a recompense, not as a gift")
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        action = options["action"]
        if action != "show" and not (options["amount"] and options["reference"]):
            raise CommandError(f"credit {action} needs an amount in US dollars and --reference")
        with tenant_scope(tenant_by_slug(options["slug"]).id), transaction.atomic():
            is_new = None if action == "show" else self._act(action, usd_to_nano(options["amount"]), options)
            standing = funds.standing()
            self.answer(
                {
                    "tenant": options["slug"],
                    "new": is_new,
                    "left_nano": standing.left_nano if standing else None,
                    "held_nano": standing.held_nano if standing else None,
                    "uncovered_nano": standing.uncovered_nano if standing else None,
                    "limits": standing.is_limit if standing else False,
                },
                as_json=options["json"],
            )

    def _act(self, action: str, amount_nano: int, options: dict[str, Any]) -> bool:
        reference = options["reference"]
        if action == "top-up":
            return entries.top_up(amount_nano=amount_nano, reference=reference)[1]
        if action == "paid":
            return entries.mark_paid(amount_nano=amount_nano, reference=reference)[1]
        if action == "refund":
            return bool(entries.refund(reference=reference, total_nano=amount_nano))
        days = options["days"]
        if days is not None and not 1 <= days <= MAX_DAYS:
            raise CommandError(f"--days: from 1 to {MAX_DAYS}")
        return _give(amount_nano, reference, days, is_refund=options["refund"])


def _give(amount_nano: int, reference: str, days: int | None, *, is_refund: bool) -> bool:
    grant, is_new = funds.add_grant(
        amount_nano=amount_nano,
        source="refund" if is_refund else "gift",
        key=f"given {reference}"[:200],
        expires_at=timezone.now() + timedelta(days=days) if days else None,
        note=reference[:200],
    )
    if is_new:
        _note(grant)
    return is_new


def _note(grant: CreditGrant) -> None:
    data = {"source": grant.source, "amount_nano": grant.amount_nano, "note": grant.note}
    record(action="credit.given", subject_kind="credit", subject_id=grant.id, data=data)
