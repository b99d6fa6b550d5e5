"""A house whose semantic cache is on, with an embedder of hashed words and a calibration that goes by the cosine alone."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from providers.cache import namespaces
from providers.cache.models import CacheNamespace
from providers.cache.semantic.models import SemanticCalibration, SemanticEntry
from providers.cache.semantic.support import support
from providers.cache.semantic.uses import uses
from providers.cache.semantic.writes import writes
from providers.cache.stats import stats
from providers.semantic import guard, score
from providers.semantic.embedders import FAKE
from providers.semantic.values import Calibration, Cut
from tests.providers.cache.conftest import House
from tests.support.cast import Company

VERSION = "by-cosine"
CUT_COSINE = 0.6
"""From this cosine on a candidate is served."""
RATE = 0.01


def by_cosine(rates: tuple[float, ...] = (RATE, RATE / 2, RATE / 4)) -> Calibration:
    """A calibration in which the score is 0.5 where the cosine is `CUT_COSINE`, and nothing else counts."""
    weights = tuple(20.0 if name == "cosine" else 0.0 for name in score.NAMES)
    cuts = tuple(Cut(rate, 0.5, 1000, 500, 0, rate) for rate in rates)
    return Calibration(
        VERSION, FAKE, guard.VERSION, score.NAMES, weights, -20.0 * CUT_COSINE, cuts, "made up for tests"
    )


def switch_on(company: Company, **changes: Any) -> None:
    """Turn the tier on for a company."""
    with company.scope(), transaction.atomic():
        SemanticCalibration.objects.get_or_create(
            tenant_id=company.id,
            version=VERSION,
            embedder=FAKE,
            defaults={"body": msgspec.to_builtins(by_cosine()), "source": "pairs", "pairs": 1000},
        )
        wanted = {
            "semantic": True,
            "semantic_embedder": FAKE,
            "semantic_calibration": VERSION,
            "semantic_audit_share": 0.0,
            "sharing": "tenant",
        } | changes
        row, _ = CacheNamespace.objects.update_or_create(tenant_id=company.id, name="default", defaults=wanted)
        namespaces.announce(row)


@pytest.fixture
async def alike(house: House) -> House:
    """The house, its semantic cache on for all of its tenant."""
    await sync_to_async(switch_on)(house.company)
    await support()
    return house


@pytest.fixture
def written() -> Callable[[], Awaitable[None]]:
    """Waits until what is on its way into the store has arrived."""

    async def wait() -> None:
        await writes().flush()
        await uses().flush()
        await stats().flush()

    return wait


def entries(company: Company) -> list[SemanticEntry]:
    """What is kept, oldest first."""
    with company.scope(), transaction.atomic():
        return list(SemanticEntry.objects.order_by("id"))
