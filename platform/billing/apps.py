"""The app `billing`, as Django knows it."""

from django.apps import AppConfig

EVENTS = {
    "subscription.past_due": "A payment for the plan is due; after the days of grace it is suspended.",
    "subscription.suspended": "The plan is suspended: the platform's models are refused.",
    "subscription.resumed": "What was due is paid, and the plan goes on.",
    "subscription.trial_ending": "A trial ends soon, and the plan is charged then.",
    "subscription.cancelled": "The subscription has ended.",
    "credit.expiring": "Credit that was not used yet expires soon.",
    "credit.low": "Little is left of the credit that limits what may be used.",
    "invoice.issued": "An invoice, or a credit note, is final.",
    "invoice.overdue": "Nobody paid an invoice when it was due.",
    "invoice.void": "An invoice is void: it is not to be paid.",
}


class BillingConfig(AppConfig):
    """See the package's docstring."""

    name = "billing"

    def ready(self) -> None:
        """Enforce the operator's limits by budgets; name what tenants are told of their plan and credit."""
        from billing.services.alerting import REFUSED, THRESHOLD_REACHED
        from billing.services.operators_limit import enforce_limit
        from billing.verification.credit import check_credit
        from billing.verification.invoices import check_documents, check_invoices
        from billing.verification.run import more_checks
        from tenants.notifications import event_type
        from tenants.services.provisioning import on_limit

        for name, meaning in EVENTS.items():
            event_type(name, meaning)
        more_checks.extend((check_credit, check_documents, check_invoices))
        on_limit.append(enforce_limit)
        event_type(THRESHOLD_REACHED, "A budget's use passed one of its thresholds.")
        event_type(REFUSED, "A budget refused a request, for the first time in its period.")
