"""Calibrations of a tenant's own: from labelled pairs, and from its audits."""

import csv
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management import CommandError, call_command
from django.db import transaction

from kernel import adb
from kernel.ids import uuid7
from providers.cache.models import CacheNamespace
from providers.cache.semantic.entries import AUDITS, Seen, seal
from providers.cache.semantic.models import SemanticAudit, SemanticCalibration
from providers.semantic.embedders import FAKE
from providers.semantic.embedders.fake import Fake
from providers.semantic.errors import BadCalibration
from providers.services.calibrating import (
    MIN_AUDITS,
    calibrate_from_audits,
    calibrate_if_due,
    tenants_with_audits,
)
from tests.providers.cache.conftest import House
from tests.providers.cache.semantic.conftest import VERSION, by_cosine
from tests.support.cast import Company

WORDS = [
    "ladder",
    "kettle",
    "saddle",
    "violin",
    "tent",
    "bicycle",
    "telescope",
    "hammock",
    "piano",
    "canoe",
    "lantern",
    "mirror",
    "umbrella",
    "typewriter",
    "accordion",
    "compass",
    "barometer",
    "sled",
    "wardrobe",
    "anvil",
    "globe",
    "stove",
    "drum",
    "harp",
    "loom",
    "kite",
    "raft",
    "trunk",
    "clock",
    "bench",
]


def pairs(count: int) -> Iterator[tuple[str, str, int]]:
    """Of every two, one that says please, and one about other things for the most part."""
    chance = random.Random(3)
    for number in range(count):
        words = chance.sample(WORDS, 6)
        other = ["please", *words] if number % 2 else words[:2] + chance.sample(WORDS, 4)
        yield f"about {' '.join(words)}", f"about {' '.join(other)}", number % 2


def written(path: Path, rows: list[tuple[str, str, int]]) -> str:
    """The pairs as a file."""
    with path.open("w", newline="") as lines:
        csv.writer(lines).writerows([("question", "stored", "same"), *rows])
    return str(path)


def run_command(*arguments: str) -> dict[str, Any]:
    """What the command answers."""
    said = io.StringIO()
    call_command("cache_calibrate", *arguments, "--json", stdout=said)
    answer: dict[str, Any] = json.loads(said.getvalue())
    return answer


def settings_of(company: Company) -> CacheNamespace:
    """The settings in force."""
    with company.scope(), transaction.atomic():
        return CacheNamespace.objects.get()


def audited(company: Company, count: int, *, wrong_from: float) -> None:
    """So many audits, of which those with a cosine below `wrong_from` were wrong."""
    chance = random.Random(5)
    with company.scope(), transaction.atomic():
        for _ in range(count):
            cosine = chance.uniform(0.6, 1.0)
            audit_id = uuid7()
            seen = Seen("about a ladder", (("about the ladder", cosine, str(uuid7())),), 0)
            cell = seal(seen, tenant_id=company.id, table=AUDITS, row_id=audit_id, column="seen")
            SemanticAudit.objects.create(
                id=audit_id,
                tenant_id=company.id,
                entry=uuid7(),
                alias="model",
                agreed=cosine >= wrong_from,
                score=0.9,
                cosine=cosine,
                embedder=FAKE,
                calibration=VERSION,
                seen=cell,
                at="2026-01-01T00:00:00Z",
            )


async def idle_transactions() -> int:
    """How many connections to the test's database hold a transaction open and say nothing."""
    async with adb.tenantless() as connection:
        cursor = await connection.execute(
            "SELECT count(*) AS idle FROM pg_stat_activity "
            "WHERE datname = current_database() AND state = 'idle in transaction'"
        )
        row: Any = await cursor.fetchone()
    return int(row["idle"])


def age_calibrations(company: Company) -> None:
    """The company's calibrations are older than its audits."""
    with company.scope(), transaction.atomic():
        SemanticCalibration.objects.update(created_at="2025-01-01T00:00:00Z")


async def test_labelled_pairs_make_a_calibration_that_holds(alike: House, tmp_path: Path) -> None:
    path = written(tmp_path / "pairs.csv", list(pairs(600)))
    slug = alike.company.tenant.slug
    said = await sync_to_async(run_command)(slug, "--pairs", path)
    row = await sync_to_async(settings_of)(alike.company)
    assert row.semantic_calibration == said["calibration"] != VERSION
    shown = await alike.rest("GET", "cache/semantic")
    assert shown["calibration"]["version"] == row.semantic_calibration
    assert "600 pairs of pairs.csv" in shown["calibration"]["measured_on"]
    assert all(cut["upper_bound"] <= cut["rate"] for cut in shown["certificate"])


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ("question,stored\na,b\n", "columns"),
        ("question,stored,same\na,b,perhaps\n", "Line 2"),
        ("question,stored,same\na,,1\n", "Line 2"),
        ("question,stored,same\na,b,1\n", "at least"),
    ],
)
async def test_what_can_t_be_used_says_why(alike: House, tmp_path: Path, rows: str, why: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(rows)
    with pytest.raises(CommandError, match=why):
        await sync_to_async(run_command)(alike.company.tenant.slug, "--pairs", str(path))
    assert (await sync_to_async(settings_of)(alike.company)).semantic_calibration == VERSION


async def test_audits_make_one_when_there_are_enough(alike: House) -> None:
    company = alike.company

    def due() -> bool:
        with company.scope():
            return calibrate_if_due()

    await sync_to_async(audited)(company, MIN_AUDITS - 1, wrong_from=0.7)
    assert company.id in await sync_to_async(tenants_with_audits)()
    assert not await sync_to_async(due)()
    await sync_to_async(audited)(company, 1, wrong_from=0.7)

    # The one that tests begin with is newer than the audits.
    await sync_to_async(age_calibrations)(company)
    assert await sync_to_async(due)()
    row = await sync_to_async(settings_of)(company)
    assert row.semantic_calibration.startswith("audits-")
    assert row.semantic_since > 0
    (cut,) = [cut for cut in (await alike.rest("GET", "cache/semantic"))["certificate"] if not cut["stratum"]]
    assert cut["cut"] > by_cosine().cuts[0].cut
    assert not await sync_to_async(due)()


async def test_no_transaction_is_open_while_pairs_are_embedded(
    alike: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be ended as idle: thousands of pairs take longer than that."""
    path = written(tmp_path / "pairs.csv", list(pairs(300)))
    seen: list[bool] = []
    embed = Fake.embed

    async def watched(self: Fake, texts: Any) -> Any:
        seen.append(await idle_transactions() > 0)
        return await embed(self, texts)

    monkeypatch.setattr(Fake, "embed", watched)
    await sync_to_async(run_command)(alike.company.tenant.slug, "--pairs", path)
    assert seen == [False] * 3


async def test_audits_never_loosen_a_calibration(alike: House) -> None:
    """They saw nothing below the cut: whatever was wrong among them, nothing there is served after."""
    await sync_to_async(audited)(alike.company, MIN_AUDITS, wrong_from=0.601)
    made = await sync_to_async(calibrate_from_audits)(slug=alike.company.tenant.slug)
    held = by_cosine()
    assert (made.weights, made.bias) == (held.weights, held.bias)
    for cut in made.cuts:
        (was,) = [one for one in held.cuts if one.rate == cut.rate]
        assert cut.cut >= was.cut


async def test_audits_that_were_all_right_teach_nothing(alike: House) -> None:
    await sync_to_async(audited)(alike.company, MIN_AUDITS, wrong_from=0.0)
    with pytest.raises(BadCalibration, match="none"):
        await sync_to_async(calibrate_from_audits)(slug=alike.company.tenant.slug)

    def due() -> bool:
        age_calibrations(alike.company)
        with alike.company.scope():
            return calibrate_if_due()

    assert await sync_to_async(due)() is False
