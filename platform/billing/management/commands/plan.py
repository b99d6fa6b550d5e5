"""The plans that the platform offers, and which tenant has which."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from billing.models import Plan, Subscription
from billing.plan_models import CREDIT_LASTS, PLAN_KINDS
from billing.services import checkouts, dunning, plans, subscriptions
from kernel.commands import ParleyCommand
from kernel.tenancy import tenant_scope
from tenants.services.provisioning import tenant_by_slug, usd_to_nano

OF_TENANTS = ("give", "show", "cancel", "suspend", "resume")


class Command(ParleyCommand):
    help = "Make, list or withdraw plans; give a tenant one, show, cancel, suspend or resume its subscription."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["create", "list", "withdraw", *OF_TENANTS])
        parser.add_argument("slug", nargs="?", help="the plan's, or the tenant's")
        parser.add_argument("plan", nargs="?", help="give: the plan's slug")
        parser.add_argument("--name", default="", help="create: what people call it")
        parser.add_argument("--kind", choices=PLAN_KINDS, default="payg")
        parser.add_argument("--price-usd", default="0", help="create: a month, of `seat` for each seat")
        parser.add_argument("--included-usd", default="0", help="create: credit each period")
        parser.add_argument("--included-lasts", choices=CREDIT_LASTS, default="period")
        parser.add_argument("--markup-bps", type=int, help="create: on cost, in hundredths of a percent")
        parser.add_argument("--trial-days", type=int, default=0)
        parser.add_argument("--grace-days", type=int, default=7)
        parser.add_argument("--max-seats", type=int)
        parser.add_argument(
            "--hidden", action="store_true", help="create: for operators to give, not for all to choose"
        )
        parser.add_argument("--seats", type=int, help="give: how many; unless told as many as there are, or 1")
        parser.add_argument("--no-trial", action="store_true", help="give: charge at once")
        parser.add_argument("--reason", default="")
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        action, slug = options["action"], options["slug"]
        if action == "list":
            for plan in plans.all_plans():
                self.answer(_plan_row(plan), as_json=options["json"])
            return
        if not slug:
            raise CommandError(f"plan {action} needs the slug of the {'tenant' if action in OF_TENANTS else 'plan'}")
        if action == "create":
            self.answer(_plan_row(self._create(slug, options)), as_json=options["json"])
        elif action == "withdraw":
            self.answer(_plan_row(plans.withdraw_plan(slug=slug)), as_json=options["json"])
        else:
            with tenant_scope(tenant_by_slug(slug).id):
                if action == "cancel":
                    # The provider is asked outside of all transactions; what it went on to collect nobody would owe.
                    checkouts.stop_paying(at_period_end=False)
                row = self._give(options) if action == "give" else self._act(action, options)
                self.answer(_row(slug, row), as_json=options["json"])

    def _create(self, slug: str, options: dict[str, Any]) -> Plan:
        terms = {
            "price_nano": usd_to_nano(options["price_usd"]),
            "included_nano": usd_to_nano(options["included_usd"]),
            "included_lasts": options["included_lasts"],
            "markup_bps": options["markup_bps"],
            "trial_days": options["trial_days"],
            "grace_days": options["grace_days"],
            "is_offered": not options["hidden"],
        }
        if options["max_seats"] is not None:
            terms["max_seats"] = options["max_seats"]
        return plans.create_plan(slug=slug, name=options["name"] or slug, kind=options["kind"], terms=terms)

    def _give(self, options: dict[str, Any]) -> Subscription:
        if not options["plan"]:
            raise CommandError("plan give needs the plan's slug after the tenant's")
        seats = options["seats"]
        with transaction.atomic():
            plan = plans.plan_by_slug(options["plan"])
            if not checkouts.is_paid_online():
                if Subscription.objects.exclude(state="cancelled").exists():
                    subscriptions.keep()
                    return subscriptions.change_plan(plan=plan, seats=seats)
                begun = 1 if seats is None else seats
                return subscriptions.subscribe(plan=plan, seats=begun, with_trial=not options["no_trial"])
        return checkouts.change_paid_plan(caller=None, plan=plan, seats=seats)

    def _act(self, action: str, options: dict[str, Any]) -> Subscription:
        with transaction.atomic():
            if action == "cancel":
                return subscriptions.cancel(at_once=True, reason=options["reason"])
            if action == "suspend":
                return dunning.suspend(reason=options["reason"])
            return dunning.payment_came() if action == "resume" else subscriptions.current_subscription()


def _plan_row(plan: Plan) -> dict[str, Any]:
    return {
        "slug": plan.slug,
        "version": plan.version,
        "name": plan.name,
        "kind": plan.kind,
        "price_nano": plan.price_nano,
        "included_nano": plan.included_nano,
        "markup_bps": plan.markup_bps,
        "offered": plan.is_offered,
    }


def _row(slug: str, sub: Subscription) -> dict[str, Any]:
    return {
        "tenant": slug,
        "plan": sub.plan.slug,
        "version": sub.plan.version,
        "state": sub.state,
        "seats": sub.seats,
        "period_start": sub.period_start.isoformat(),
        "period_end": sub.period_end.isoformat(),
        "next_plan": sub.next_plan.slug if sub.next_plan else None,
    }
