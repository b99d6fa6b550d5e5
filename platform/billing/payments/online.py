"""Which provider takes payments online: the one that the operator named, or none."""

import importlib
from functools import cache
from typing import cast

from django.conf import settings

from billing.payments.base import PaymentPort
from kernel.errors import NotFound


class NoOnlinePayments(NotFound):
    """Payments are not taken online here. Ask whoever runs this platform."""

    code = "no_online_payments"


def online_port() -> PaymentPort:
    """The provider. Raises `NoOnlinePayments`."""
    if not settings.STRIPE_SECRET_KEY:
        raise NoOnlinePayments
    return _port(settings.STRIPE_SECRET_KEY, settings.STRIPE_API_BASE)


@cache
def _port(secret_key: str, api_base: str) -> PaymentPort:
    # The library is large: a process that takes no payments doesn't load it.
    adapter = importlib.import_module("billing.payments.stripe.client")
    return cast("PaymentPort", adapter.StripePort(secret_key=secret_key, api_base=api_base))
