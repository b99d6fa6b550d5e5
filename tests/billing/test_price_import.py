"""Importing price lists: what would change is shown, and nothing enters the book that nobody accepted."""

import io
import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot
from genai_prices.types import (
    ClauseEquals,
    ClauseStartsWith,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from billing.errors import PriceChanged
from billing.models import Price
from billing.price_book import Proposed, enter, prices_in_force
from billing.price_list import listed
from billing.tariffs import set_prices
from kernel.errors import InvalidRequest
from kernel.ids import uuid7
from providers.models import PlatformConnection, PlatformDeployment
from providers.services.price_import import LISTED_AS, propose_prices

PLATFORM = "platform"
USD = 1_000_000_000
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def usd(text: str) -> Decimal:
    return Decimal(text)


def tiered(base: str, **above: str) -> TieredPrices:
    return TieredPrices(usd(base), [Tier(int(start[1:]), usd(price)) for start, price in above.items()])


def model(name: str, prices: Any, variants: list[PriceVariant] | None = None) -> ModelInfo:
    return ModelInfo(id=name, match=ClauseEquals(name), prices=prices, price_variants=variants)


SIMPLE = ModelPrice(input_mtok=usd("2"), output_mtok=usd("8"))
RICH = ModelPrice(
    input_mtok=tiered("3", _200000="6"),
    cache_read_mtok=tiered("0.3", _200000="0.6"),
    cache_write_mtok=usd("3.75"),
    cache_write_1h_mtok=usd("6"),
    output_mtok=tiered("15", _200000="22.5"),
    input_audio_mtok=usd("40"),
)
HALF = ModelPrice(input_mtok=tiered("1.5", _200000="3"), output_mtok=tiered("7.5", _200000="11.25"))
LIST = [
    Provider(
        id="openai",
        name="OpenAI",
        api_pattern="",
        models=[
            model("simple", SIMPLE),
            model("rich", RICH, [PriceVariant({"processing": "batch"}, HALF)]),
            model("same-in-batch", SIMPLE, [PriceVariant({"processing": "batch"}, SIMPLE)]),
            model(
                "announced",
                [
                    ConditionalPrice(prices=SIMPLE),
                    ConditionalPrice(
                        StartDateConstraint(date(2026, 7, 1)),
                        prices=ModelPrice(input_mtok=usd("1"), output_mtok=usd("8")),
                    ),
                ],
            ),
            model(
                "by-the-hour",
                [
                    ConditionalPrice(prices=SIMPLE),
                    ConditionalPrice(
                        TimeOfDateConstraint(time(1, tzinfo=UTC), time(9, tzinfo=UTC)),
                        prices=ModelPrice(input_mtok=usd("5"), output_mtok=usd("6")),
                    ),
                ],
            ),
            model("embedding", ModelPrice(input_mtok=usd("0.02"))),
            model("by-the-image", ModelPrice(output_mtok=usd("5"))),
            ModelInfo(id="family", match=ClauseStartsWith("family-"), prices=SIMPLE),
        ],
    )
]


@pytest.fixture(autouse=True)
def price_list() -> Iterator[None]:
    """A list of the tests' own in place of the bundled one."""
    set_custom_snapshot(DataSnapshot(providers=LIST, from_auto_update=False))
    yield
    set_custom_snapshot(None)


def costs(name: str, at: datetime = NOW) -> dict[str, dict[str, float]]:
    """What the list says of a model now, in dollars, by tier and meter."""
    found: dict[str, dict[str, float]] = {}
    for (tier, meter), nano in listed(provider="openai", model=name, at=at)[0].costs.items():
        found.setdefault(tier, {})[meter] = nano / USD
    return found


def test_what_a_list_does_not_price_apart_costs_what_it_is_part_of() -> None:
    assert costs("simple") == {
        "standard": {"input": 2, "cache_read": 2, "cache_write": 2, "output": 8, "reasoning": 8},
    }


def test_long_prompts_and_batches_become_tiers() -> None:
    found = costs("rich")
    assert set(found) == {"standard", "standard>200000", "batch", "batch>200000"}
    assert found["standard>200000"] == {
        "input": 6,
        "cache_read": 0.6,
        "cache_write": 3.75,
        "cache_write_1h": 6,
        "output": 22.5,
        "reasoning": 22.5,
        "input_audio": 40,
    }
    assert (found["batch"]["input"], found["batch>200000"]["output"]) == (1.5, 11.25)


def test_a_service_at_the_standard_price_is_no_tier() -> None:
    assert set(costs("same-in-batch")) == {"standard"}


def test_a_price_by_the_hour_is_taken_at_its_dearest() -> None:
    assert costs("by-the-hour")["standard"] == {
        "input": 5,
        "cache_read": 5,
        "cache_write": 5,
        "output": 8,
        "reasoning": 8,
    }


def test_an_announced_price_comes_with_its_day() -> None:
    now, later = listed(provider="openai", model="announced", at=NOW)
    assert (now.effective_from, later.effective_from) == (None, datetime(2026, 7, 1, tzinfo=UTC))
    assert (now.costs["standard", "input"], later.costs["standard", "input"]) == (2 * USD, 1 * USD)
    (after,) = listed(provider="openai", model="announced", at=datetime(2026, 7, 2, tzinfo=UTC))
    assert after.costs["standard", "input"] == 1 * USD


def test_of_vectors_nothing_is_written() -> None:
    assert costs("embedding")["standard"]["output"] == 0


@pytest.mark.parametrize("name", ["by-the-image", "nothing-like-it"])
def test_what_has_no_price_by_tokens_is_not_listed(name: str) -> None:
    assert listed(provider="openai", model=name, at=NOW) == ()


def test_the_bundled_list_knows_every_provider_that_is_named() -> None:
    set_custom_snapshot(None)
    known = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "google": "gemini-2.5-flash", "azure": "gpt-4o"}
    known |= {"cohere": "command-a-03-2025", "openrouter": "openai/gpt-4o-mini", "groq": "llama-3.3-70b-versatile"}
    known |= {"together": "meta-llama/Llama-3.3-70B-Instruct-Turbo", "deepseek": "deepseek-chat"}
    known |= {"mistral": "mistral-large-latest"}
    assert set(known) == set(LISTED_AS.values())
    for provider, name in known.items():
        (one, *_) = listed(provider=provider, model=name, at=NOW)
        assert one.costs["standard", "input"] > 0, provider


# --- with the book


@pytest.fixture
def connection() -> PlatformConnection:
    """A connection of the platform to OpenAI, of the test's own."""
    name = f"c{uuid.uuid4().hex}"
    return PlatformConnection.objects.using(PLATFORM).create(
        id=uuid7(), name=name, kind="openai", base_url="https://api.openai.com/v1"
    )


def offer(connection: PlatformConnection, name: str) -> str:
    price_model = f"{connection.name}/{name}"
    PlatformDeployment.objects.using(PLATFORM).create(
        id=uuid7(), connection=connection, model=name, price_model=price_model
    )
    return price_model


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("prices_import", *arguments, stdout=out)
    return out.getvalue()


def proposed_for(price_model: str, *, markup_bps: int | None = None, at: datetime | None = None) -> list[Proposed]:
    return [one for one in propose_prices(markup_bps=markup_bps, at=at).prices if one.model == price_model]


def book(price_model: str) -> dict[tuple[str, str], int]:
    known = prices_in_force([price_model], at=timezone.now() + timedelta(seconds=5), using=PLATFORM)
    return {place: price.cost_nano_per_mtok for place, price in known.get(price_model, {}).items()}


def test_the_difference_is_shown_and_nothing_is_entered(connection: PlatformConnection) -> None:
    price_model = offer(connection, "simple")
    set_prices(model=price_model, input_nano_per_mtok=USD, output_nano_per_mtok=8 * USD, tenant_id=None, using=PLATFORM)
    shown = run()
    block = shown[shown.index(price_model) :].split("\n\n")[0]
    assert "(listed as openai/simple)" in block
    assert re.search(r"standard +input +1\.00 → 2\.00$", block, re.MULTILINE)
    assert "output" not in block
    assert book(price_model)["standard", "input"] == USD


def test_what_is_not_listed_is_named_with_the_reason(connection: PlatformConnection) -> None:
    unknown = offer(connection, "nothing-like-it")
    local = PlatformConnection.objects.using(PLATFORM).create(
        id=uuid7(), name=f"l{uuid.uuid4().hex}", kind="ollama", base_url="http://127.0.0.1:1"
    )
    own = offer(local, "llama3.2")
    reasons = {one.model: one.reason for one in propose_prices().unlisted}
    assert reasons[unknown] == "'nothing-like-it' is not on the list of openai"
    assert reasons[own] == "there is no price list of Ollama"


def test_accepted_models_are_entered_once(connection: PlatformConnection) -> None:
    accepted, other = offer(connection, "rich"), offer(connection, "simple")
    assert json.loads(run("--accept", accepted, "--json")) == {"entered": 28, "known": 0}
    assert book(accepted)["standard>200000", "input"] == 6 * USD
    assert book(accepted)["batch", "output"] == 7.5 * USD
    assert book(other) == {}
    assert proposed_for(accepted) == []
    with pytest.raises(CommandError, match="Nothing is proposed for"):
        run("--accept", accepted)


def test_a_model_is_found_by_the_lists_own_rules(connection: PlatformConnection) -> None:
    (first, *_) = proposed_for(offer(connection, "family-2026-01-01"))
    assert first.listed_as == "openai/family"


def test_a_proposal_is_edited_and_applied_as_often_as_one_likes(connection: PlatformConnection, tmp_path: Path) -> None:
    kept, left_out = offer(connection, "simple"), offer(connection, "rich")
    path = tmp_path / "proposal.json"
    run("--write-proposal", str(path))
    proposal = json.loads(path.read_text())
    proposal["prices"] = [one for one in proposal["prices"] if one["model"] == kept]
    for one in proposal["prices"]:
        one["sell_nano_per_mtok"] = one["cost_nano_per_mtok"] + 7
    path.write_text(json.dumps(proposal))
    assert json.loads(run("--apply", str(path), "--json")) == {"entered": 5, "known": 0}
    assert json.loads(run("--apply", str(path), "--json")) == {"entered": 0, "known": 5}
    row = Price.objects.using(PLATFORM).get(model=kept, meter="input")
    assert (row.cost_nano_per_mtok, row.sell_nano_per_mtok) == (2 * USD, 2 * USD + 7)
    assert book(left_out) == {}


def test_a_proposal_that_the_book_has_overtaken_is_refused_whole(
    connection: PlatformConnection, tmp_path: Path
) -> None:
    one, two = offer(connection, "simple"), offer(connection, "same-in-batch")
    proposal = [*proposed_for(one), *proposed_for(two)]
    set_prices(model=two, input_nano_per_mtok=5, output_nano_per_mtok=5, tenant_id=None, using=PLATFORM)
    with pytest.raises(PriceChanged) as raised:
        enter(proposal, using=PLATFORM)
    assert raised.value.details["model"] == two
    assert book(one) == {}


def test_margins_stay_unless_a_markup_is_given(connection: PlatformConnection) -> None:
    price_model = offer(connection, "simple")
    known = {(p.tier, p.meter): p for p in proposed_for(price_model, markup_bps=5_000)}
    assert known["standard", "input"].sell_nano_per_mtok == 3 * USD
    halved = [
        Proposed(model=price_model, tier=p.tier, meter=p.meter, cost_nano_per_mtok=USD, sell_nano_per_mtok=2 * USD)
        for p in known.values()
    ]
    enter(halved, using=PLATFORM)
    again = {(p.tier, p.meter): p for p in proposed_for(price_model)}
    assert again["standard", "input"].sell_nano_per_mtok == 4 * USD
    assert again["standard", "output"].sell_nano_per_mtok == 16 * USD


def test_a_tier_that_is_no_longer_listed_goes_back_to_the_standard_price(connection: PlatformConnection) -> None:
    price_model = offer(connection, "simple")
    enter(proposed_for(price_model), using=PLATFORM)
    gone = Proposed(model=price_model, tier="standard>1000", meter="input", cost_nano_per_mtok=9, sell_nano_per_mtok=9)
    enter([gone], using=PLATFORM)
    (back,) = proposed_for(price_model)
    assert (back.tier, back.meter, back.cost_nano_per_mtok) == ("standard>1000", "input", 2 * USD)


def test_an_announced_price_is_entered_for_its_day(connection: PlatformConnection) -> None:
    price_model = offer(connection, "coming")
    day = (timezone.now() + timedelta(days=30)).date()
    changed = ModelPrice(input_mtok=usd("1"), output_mtok=usd("8"))
    prices = [ConditionalPrice(prices=SIMPLE), ConditionalPrice(StartDateConstraint(day), prices=changed)]
    coming = Provider(id="openai", name="OpenAI", api_pattern="", models=[model("coming", prices)])
    set_custom_snapshot(DataSnapshot(providers=[coming], from_auto_update=False))
    run("--accept", price_model)
    assert book(price_model)["standard", "input"] == 2 * USD
    later = prices_in_force([price_model], at=timezone.now() + timedelta(days=31), using=PLATFORM)[price_model]
    assert later["standard", "input"].cost_nano_per_mtok == 1 * USD
    assert proposed_for(price_model) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"tier": "cheap"}, "no tier"),
        ({"meter": "tokens"}, "no meter"),
        ({"cost_nano_per_mtok": -1}, "a price is from 0"),
        ({"sell_nano_per_mtok": 10**16}, "a price is from 0"),
        ({"effective_from": "2020-01-01T00:00:00Z"}, "a moment to come"),
        ({"effective_from": "2099-01-01T00:00:00"}, "with its time zone"),
        ({"model": ""}, "printable"),
        ({"cost_nano_per_mtok": 1.5}, "is no proposal"),
        ({"surprise": 1}, "is no proposal"),
    ],
)
def test_a_proposal_that_makes_no_sense_is_refused(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    price = {"model": "c/m", "tier": "standard", "meter": "input", "cost_nano_per_mtok": 1, "sell_nano_per_mtok": 1}
    proposal = {"source": "x", "made_at": "2026-01-01T00:00:00Z", "prices": [{**price, **change}], "format": 1}
    path = tmp_path / "proposal.json"
    path.write_text(json.dumps(proposal))
    with pytest.raises(CommandError, match=problem):
        run("--apply", str(path))


def test_a_price_named_twice_is_refused() -> None:
    price = Proposed(model="c/m", tier="standard", meter="input", cost_nano_per_mtok=1, sell_nano_per_mtok=1)
    with pytest.raises(InvalidRequest, match="twice"):
        enter([price, price], using=PLATFORM)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", None])
def test_a_file_that_is_no_proposal_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "proposal.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CommandError, match="proposal"):
        run("--apply", str(path))


@pytest.mark.parametrize("markup", ["-1", "1000001"])
def test_a_markup_that_cannot_be_is_refused(markup: str) -> None:
    with pytest.raises(CommandError, match="markup"):
        run("--markup-bps", markup)
