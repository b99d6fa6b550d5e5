"""Offer the local model that `up` runs, to every tenant, at no price."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from kernel.commands import ParleyCommand
from providers.services.connections import Offer, add_provider

ALIAS = "smollm2-135m-instruct"


class Command(ParleyCommand):
    help = "Offer the local model at PARLEY_LOCAL_MODEL_URL to every tenant."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.LOCAL_MODEL_URL:
            raise CommandError("PARLEY_LOCAL_MODEL_URL is not set: there is no local model to offer.")
        offer = Offer(
            kind="llama.cpp",
            name="local",
            base_url=settings.LOCAL_MODEL_URL,
            api_key=settings.LOCAL_MODEL_KEY,
            models=[(ALIAS, ALIAS)],
            input_nano_per_mtok=0,
            output_nano_per_mtok=0,
        )
        add_provider(offer)
