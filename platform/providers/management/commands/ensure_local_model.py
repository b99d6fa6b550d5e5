"""Offer the local model that `up` runs, to every tenant, at no price."""

from typing import Any

from django.core.management.base import CommandParser

from kernel.commands import ParleyCommand
from providers.services.connections import Offer, add_provider

ALIAS = "smollm2-135m-instruct"


class Command(ParleyCommand):
    help = "Offer the local model, served at --base-url, to every tenant."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--base-url", required=True)
        parser.add_argument("--api-key", default="")

    def handle(self, *args: Any, **options: Any) -> None:
        offer = Offer(
            kind="llama.cpp",
            name="local",
            base_url=options["base_url"],
            api_key=options["api_key"],
            models=[(ALIAS, ALIAS)],
            input_nano_per_mtok=0,
            output_nano_per_mtok=0,
        )
        add_provider(offer)
