"""Offer the models of the providers that the environment names, to every tenant."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from kernel.commands import ParleyCommand
from providers.factory import ModelFactory
from providers.registry import UnknownProvider
from providers.services.environment import ensure_environment_providers


class Command(ParleyCommand):
    help = "Offer the default models of LLM_PRIMARY_PROVIDER and LLM_FALLBACK_PROVIDERS to every tenant."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            factory = ModelFactory(
                environment=settings.PROVIDER_VARIABLES,
                primary=settings.LLM_PRIMARY_PROVIDER,
                fallbacks=settings.LLM_FALLBACK_PROVIDERS,
            )
        except UnknownProvider as error:
            raise CommandError(f"LLM_PRIMARY_PROVIDER, LLM_FALLBACK_PROVIDERS: {error}") from error
        for one in ensure_environment_providers(factory):
            if one.models:
                self.stdout.write(f"{one.provider} offers {', '.join(one.models)}.")
            for reason in one.reasons:
                self.stderr.write(f"{one.provider} is not available as asked: {reason}.")
