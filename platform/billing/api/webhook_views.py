"""What payment providers tell. Nobody is signed in here: what counts is the provider's signature."""

import importlib

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from billing.payments.online import NoOnlinePayments, online_port
from kernel.api.views import PublicAPIView
from kernel.errors import PayloadTooLarge

BODY_BYTES_MAX = 256 * 1024


class StripeWebhookView(PublicAPIView):
    """Where Stripe tells its events."""

    parser_classes = ()

    @extend_schema(exclude=True)
    def post(self, request: Request) -> Response:
        if not settings.STRIPE_SECRET_KEY:
            raise NoOnlinePayments
        length = request.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX:
            raise PayloadTooLarge
        try:
            body = request._request.body
        except RequestDataTooBig as error:
            raise PayloadTooLarge from error
        webhook = importlib.import_module("billing.payments.stripe.webhook")
        outcome = webhook.take(
            body=body,
            signature=request.headers.get("Stripe-Signature", "")[:1_000],
            secret=settings.STRIPE_WEBHOOK_SECRET,
            reader=online_port(),
        )
        return Response({"outcome": outcome}, status=status.HTTP_200_OK)
