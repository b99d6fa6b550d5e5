"""From public price lists to proposals for the price book: for every model that the platform offers."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from django.utils import timezone

from billing import price_list
from billing.price_book import (
    MAX_MARKUP_BPS,
    Entered,
    InForce,
    Proposal,
    Proposed,
    Unlisted,
    changes,
    enter,
    prices_in_force,
)
from kernel.errors import InvalidRequest
from providers import registry
from providers.models import PlatformDeployment
from tenants.services.provisioning import PLATFORM

LISTED_AS: Mapping[str, str] = {
    "openai": "openai",
    "anthropic": "anthropic",
    "azure": "azure",
    "gemini": "google",
    "cohere": "cohere",
    "openrouter": "openrouter",
    "together": "together",
    "groq": "groq",
    "deepseek": "deepseek",
    "mistral": "mistral",
}
"""Our providers, and what the list calls them. Others publish no prices: they run on one's own machines, or anywhere."""
MAX_MODELS = 10_000


def propose_prices(*, markup_bps: int | None = None, at: datetime | None = None) -> Proposal:
    """What the lists would change in the book, for the models of the platform's connections.

    The selling price is `markup_bps` hundredths of a percent above the cost; without, the margin stays as it is. Raises
    `InvalidRequest` for a markup that can't be."""
    if markup_bps is not None and not 0 <= markup_bps <= MAX_MARKUP_BPS:
        raise InvalidRequest(f"A markup is from 0 to {MAX_MARKUP_BPS} hundredths of a percent.")
    now = at or timezone.now()
    deployments = PlatformDeployment.objects.using(PLATFORM).select_related("connection").order_by("price_model")
    offered = {row.price_model: (row.connection.kind, row.model) for row in deployments[:MAX_MODELS]}
    book = prices_in_force(offered, at=now, using=PLATFORM)
    proposed: list[Proposed] = []
    unlisted: list[Unlisted] = []
    for price_model, (kind, model) in offered.items():
        lists, reason = _lists(kind, model, now)
        if reason:
            unlisted.append(Unlisted(price_model, reason))
        now_known = known = dict(book.get(price_model, {}))
        for one in lists:
            due = one.effective_from
            entered = prices_in_force([price_model], at=due, using=PLATFORM).get(price_model, {}) if due else {}
            changed = changes(
                price_model,
                one.costs,
                book=known | {place: price for place, price in entered.items() if price != now_known.get(place)},
                markup_bps=markup_bps,
                effective_from=due,
                listed_as=f"{one.provider}/{one.model}",
            )
            proposed += changed
            known = known | {
                (new.tier, new.meter): InForce(new.cost_nano_per_mtok, new.sell_nano_per_mtok) for new in changed
            }
    return Proposal(price_list.source(), now, tuple(proposed), tuple(unlisted))


def _lists(kind: str, model: str, at: datetime) -> tuple[Sequence[price_list.Listed], str]:
    """What a list says of a model, or why it says nothing."""
    provider = LISTED_AS.get(kind)
    if provider is None:
        title = registry.get(kind).title if kind in registry.names() else kind
        return (), f"there is no price list of {title}"
    lists = price_list.listed(provider=provider, model=model, at=at)
    return lists, "" if lists else f"{model!r} is not on the list of {provider}"


def accept_prices(prices: Sequence[Proposed]) -> Entered:
    """Enter what somebody has looked at. See `billing.price_book.enter`."""
    return enter(prices, using=PLATFORM)


def prices_of(proposal: Proposal, models: Collection[str]) -> Sequence[Proposed]:
    """The proposed prices of some models. Raises `InvalidRequest` for one for which nothing is proposed."""
    missing = sorted(set(models) - {price.model for price in proposal.prices})
    if missing:
        raise InvalidRequest(f"Nothing is proposed for: {', '.join(missing)}.", details={"models": missing})
    return [price for price in proposal.prices if price.model in models]
