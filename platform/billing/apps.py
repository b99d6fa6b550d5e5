"""The app `billing`, as Django knows it."""

from django.apps import AppConfig


class BillingConfig(AppConfig):
    """See the package's docstring."""

    name = "billing"

    def ready(self) -> None:
        """Enforce the operator's limits by budgets."""
        from billing.services.operators_limit import enforce_limit
        from tenants.services.provisioning import on_limit

        on_limit.append(enforce_limit)
