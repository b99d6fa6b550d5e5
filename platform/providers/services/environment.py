"""The providers that the environment names: the platform's own connections, a route per default model, and the route
`default`, which goes from the primary provider to the fallbacks."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction

from kernel.ids import uuid7
from providers import registry
from providers.factory import ModelFactory
from providers.list_prices import list_price
from providers.models import PlatformDeployment, PlatformRoute, PlatformRouteTarget
from providers.routes import DEFAULT_MODEL
from providers.services.connections import Offer, add_provider
from tenants.services.provisioning import PLATFORM

CONNECTION_PREFIX = "env-"


@dataclass(frozen=True, slots=True)
class Ensured:
    """What became of one provider of the environment: `models` are offered; `reasons` say what isn't, and why."""

    provider: str
    models: tuple[str, ...]
    reasons: tuple[str, ...] = ()


def ensure_environment_providers(factory: ModelFactory) -> Sequence[Ensured]:
    """Offer the default models of the primary provider and of the fallbacks to every tenant. Safe to repeat.

    A provider without its key or address, and a model without a known price, are left out and named."""
    ensured = [_ensure(factory, provider) for provider in factory.order]
    firsts = [(one.provider, one.models[0]) for one in ensured if one.models]
    if firsts:
        with transaction.atomic(using=PLATFORM):
            _ensure_default_route(firsts)
            if len(firsts) > 1:
                named = [model for one in ensured for model in one.models]
                PlatformRoute.objects.using(PLATFORM).filter(alias__in=named, fallbacks=[]).update(
                    fallbacks=[DEFAULT_MODEL]
                )
    return ensured


def _ensure(factory: ModelFactory, provider: str) -> Ensured:
    available = factory.availability(provider)
    if not available.available:
        return Ensured(provider, (), (available.reason or "unavailable",))
    spec = registry.get(provider)
    offered: list[str] = []
    reasons: list[str] = [] if spec.models else ["it has no default models"]
    for model in spec.models:
        target = factory.platform_target(provider, model)
        price = list_price(provider, model, needs_key=spec.needs_key)
        if target is None or price is None:
            reasons.append(f"{model}: its price is not known; add it with `manage.py add_provider`")
            continue
        add_provider(
            Offer(
                kind=provider,
                name=f"{CONNECTION_PREFIX}{provider}",
                base_url=target.base_url,
                api_key=target.secret or "",
                models=[(model, model)],
                input_nano_per_mtok=price.input_nano_per_mtok,
                output_nano_per_mtok=price.output_nano_per_mtok,
                other_prices=price.others,
                keeps_prices=True,
            )
        )
        offered.append(model)
    return Ensured(provider, tuple(offered), tuple(reasons))


def _ensure_default_route(firsts: Sequence[tuple[str, str]]) -> None:
    """The targets of `default`, in the order of the environment; those that operators added come after."""
    route, _ = PlatformRoute.objects.using(PLATFORM).get_or_create(alias=DEFAULT_MODEL, defaults={"id": uuid7()})
    targets = PlatformRouteTarget.objects.using(PLATFORM).filter(route=route)
    deployments = [
        PlatformDeployment.objects.using(PLATFORM)
        .get(connection__name=f"{CONNECTION_PREFIX}{provider}", model=model)
        .id
        for provider, model in firsts
    ]
    others = targets.exclude(deployment_id__in=deployments).exclude(
        deployment__connection__name__startswith=CONNECTION_PREFIX
    )
    wanted = [*deployments, *others.order_by("position").values_list("deployment_id", flat=True)]
    if list(targets.order_by("position").values_list("deployment_id", flat=True)) == wanted:
        return
    targets.delete()
    for position, deployment_id in enumerate(wanted):
        PlatformRouteTarget.objects.using(PLATFORM).create(
            id=uuid7(), route=route, deployment_id=deployment_id, position=position
        )
