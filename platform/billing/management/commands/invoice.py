"""A tenant's invoices, for operators."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from billing.invoice_models import BPS_MAX
from billing.invoices import correcting, issuing, profiles
from billing.invoices.closing import chain, close_period
from billing.invoices.documents.keeping import make_pdf
from billing.models import Invoice
from billing.payments.manual import entries
from kernel.commands import ParleyCommand
from kernel.tenancy import tenant_scope
from tenants.services.provisioning import tenant_by_slug, usd_to_nano

LISTED_MAX = 1_000
ACTIONS = ("list", "show", "issue", "paid", "void", "credit", "pdf", "terms")
OF_ONE = ("show", "paid", "void", "credit", "pdf")


class Command(ParleyCommand):
    help = (
        "List or show a tenant's invoices, issue what waits (--until-now: and what was used until now), enter that one was "
        "paid, make one void, give some of it back, write its PDF, set the tenant's tax and time to pay."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=ACTIONS)
        parser.add_argument("slug", help="the tenant's")
        parser.add_argument("number", nargs="?", help="of the invoice, such as ACME-000017")
        parser.add_argument("--until-now", action="store_true", help="issue: end the period now, before its time")
        parser.add_argument("--reference", help="paid: of the bank's transfer; it counts once")
        parser.add_argument(
            "--amount", help="paid, credit: US dollars; unless told, all that is due (credit: without tax)"
        )
        parser.add_argument("--reason", default="", help="void, credit: printed on the document")
        parser.add_argument(
            "--again", action="store_true", help="void: issue the same anew, for the buyer and tax of today"
        )
        parser.add_argument("--out", type=Path, help="pdf: the file to write")
        parser.add_argument("--tax-percent", help="terms: such as 19 or 7.75; 'default' for everybody's")
        parser.add_argument("--tax-note", default="", help="terms: printed on invoices")
        parser.add_argument("--due-days", type=int, help="terms: unless told, as for everybody")
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        action, slug = options["action"], options["slug"]
        if action in OF_ONE and not options["number"]:
            raise CommandError(f"invoice {action} needs the number of the invoice")
        with tenant_scope(tenant_by_slug(slug).id):
            if action == "pdf":
                body = self._pdf(options)
            elif action == "list":
                with transaction.atomic():
                    rows = list(Invoice.objects.order_by("-id")[:LISTED_MAX])
                for row in rows:
                    self.answer(_row(row), as_json=options["json"])
                return
            elif action == "issue":
                body = self._issue(options)
            else:
                with transaction.atomic():
                    body = self._act(action, options)
        self.answer(body, as_json=options["json"])

    def _act(self, action: str, options: dict[str, Any]) -> dict[str, Any]:
        if action == "terms":
            return self._terms(options)
        document = _by_number(options["number"])
        amount_nano = usd_to_nano(options["amount"]) if options["amount"] else None
        if action == "paid":
            if not options["reference"]:
                raise CommandError("invoice paid needs --reference: what the payment is known by")
            entries.pay_invoice(document, amount_nano=amount_nano, reference=options["reference"])
        elif action == "void":
            document = correcting.void(document, reason=options["reason"], again=options["again"]) or document
        elif action == "credit":
            net_nano = document.net_nano if amount_nano is None else amount_nano
            document = correcting.credit(document, net_nano=net_nano, reason=options["reason"])
        return _row(Invoice.objects.get(id=document.id))

    def _issue(self, options: dict[str, Any]) -> dict[str, Any]:
        with transaction.atomic():
            if options["until_now"]:
                close_period(until=timezone.now())
        with transaction.atomic():
            waiting = chain().filter(state="draft").count()
        made = [issuing.issue(at_once=True) for _ in range(waiting)]
        return {"tenant": options["slug"], "issued": [one.label for one in made if one is not None]}

    def _pdf(self, options: dict[str, Any]) -> dict[str, Any]:
        if options["out"] is None:
            raise CommandError("invoice pdf needs --out FILE")
        with transaction.atomic():
            document = _by_number(options["number"])
        with options["out"].open("wb") as target:
            pages = make_pdf(document, target)
        return {"invoice": document.label, "file": str(options["out"]), "pages": pages}

    def _terms(self, options: dict[str, Any]) -> dict[str, Any]:
        percent = options["tax_percent"]
        if percent is None:
            raise CommandError("invoice terms needs --tax-percent")
        days = options["due_days"]
        if days is not None and not 0 <= days <= 365:
            raise CommandError("--due-days: from 0 to 365")
        bps = None if percent == "default" else _bps(percent)
        profiles.set_terms(tax_bps=bps, tax_note=options["tax_note"][:200], due_days=days)
        terms = profiles.terms()
        return {"tenant": options["slug"], "tax_bps": terms.tax_bps, "due_days": terms.due_days}


def _by_number(number: str) -> Invoice:
    found = Invoice.objects.select_related("corrects", "replaces").filter(label=number).first()
    if found is None:
        raise CommandError(f"There is no invoice {number}.")
    return found


def _bps(percent: str) -> int:
    whole, _, rest = percent.partition(".")
    if not (percent.isascii() and whole.isdigit() and len(whole) <= 3 and len(rest) <= 2 and (rest or "0").isdigit()):
        raise CommandError("--tax-percent: a number such as 19 or 7.75 is needed")
    bps = int(whole) * 100 + int(rest.ljust(2, "0"))
    if bps > BPS_MAX:
        raise CommandError("--tax-percent: at most 100")
    return bps


def _row(document: Invoice) -> dict[str, Any]:
    return {
        "invoice": document.label or None,
        "kind": document.kind,
        "state": document.state,
        "since": document.since.isoformat(),
        "until": document.until.isoformat(),
        "net_nano": document.net_nano,
        "tax_nano": document.tax_nano,
        "total_nano": document.total_nano,
        "due_nano": document.due_nano,
        "due_at": document.due_at.isoformat() if document.due_at else None,
    }
