"""The app `billing`, as Django knows it."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """See the package's docstring."""

    name = "billing"

    def ready(self) -> None:
        """Enforce the operator's limits by budgets, and name what is told."""
        from billing.services.alerting import REFUSED, THRESHOLD_REACHED
        from billing.services.operators_limit import enforce_limit
        from tenants.notifications import event_type
        from tenants.services.provisioning import on_limit

        on_limit.append(enforce_limit)
        event_type(THRESHOLD_REACHED, "A budget's use passed one of its thresholds.")
        event_type(REFUSED, "A budget refused a request, for the first time in its period.")
