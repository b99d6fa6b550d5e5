"""Offer a provider's models, to every tenant or to one."""

import re
from typing import Any

from django.core.management.base import CommandParser

from kernel.commands import ParleyCommand
from kernel.errors import InvalidRequest
from providers.prompt_formats import PROMPT_FORMATS
from providers.services.connections import Offer, add_provider
from tenants.services.provisioning import usd_to_nano


class Command(ParleyCommand):
    help = "Add a provider connection with deployments, a route per alias, and prices."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", help="such as openai-compatible")
        parser.add_argument("--name", required=True)
        parser.add_argument("--base-url", required=True)
        parser.add_argument("--api-key", default="")
        parser.add_argument("--model", action="append", required=True, metavar="ALIAS[=UPSTREAM]", dest="models")
        parser.add_argument("--input-price", required=True, metavar="USD_PER_MTOK")
        parser.add_argument("--output-price", required=True, metavar="USD_PER_MTOK")
        parser.add_argument("--region", help="where the provider computes, such as eu-central-1")
        parser.add_argument(
            "--prompt-format", metavar="NAME", help=f"for models that only continue text: {', '.join(PROMPT_FORMATS)}"
        )
        parser.add_argument(
            "--max-output",
            type=int,
            metavar="TOKENS",
            help="how long answers may be where requests don't say; else 4096",
        )
        parser.add_argument("--tenant", metavar="SLUG", help="for this tenant alone")
        self.add_json_flag(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        offer = Offer(
            kind=options["kind"],
            name=options["name"],
            base_url=options["base_url"],
            api_key=options["api_key"],
            models=[_model(text) for text in options["models"]],
            input_nano_per_mtok=usd_to_nano(options["input_price"]),
            output_nano_per_mtok=usd_to_nano(options["output_price"]),
            region=options["region"],
            prompt_format=options["prompt_format"],
            max_output_tokens=options["max_output"],
        )
        added = add_provider(offer, tenant_slug=options["tenant"])
        self.answer(
            {
                "connection": str(added.connection_id),
                "name": offer.name,
                "tenant": options["tenant"],
                "models": list(added.aliases),
            },
            as_json=options["json"],
        )


def _model(text: str) -> tuple[str, str]:
    alias, _, upstream = text.partition("=")
    if not re.fullmatch(r"[\w./:@+-]{1,200}", alias) or len(upstream) > 200:
        raise InvalidRequest(f"{text!r} is no ALIAS or ALIAS=UPSTREAM.")
    return alias, upstream or alias
