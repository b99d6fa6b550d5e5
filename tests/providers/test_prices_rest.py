"""Prices in force, and the price simulator, over REST."""

import secrets
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from billing.price_book import Proposed, enter
from billing.types import Charge, Tokens
from billing.usage_writer import record_usage
from kernel.loop import on_loop
from providers.services.connections import Offer, add_provider
from providers.services.own_connections import create_connection
from providers.services.own_deployments import create_deployment
from tests.billing.events import usage_event
from tests.support.cast import Actor, Company

PLATFORM = "platform"
PRICES, SIMULATIONS = "/api/v1/billing/prices", "/api/v1/billing/price-simulations"


@dataclass(frozen=True)
class Offered:
    """A model of the platform: a dollar for a million tokens read, two for written, each sold at half as much again."""

    alias: str


@pytest.fixture(scope="module")
def offered(database: str, django_db_blocker: Any) -> Offered:
    name, alias = f"c{secrets.token_hex(6)}", f"0-{secrets.token_hex(6)}"
    with django_db_blocker.unblock():
        add_provider(
            Offer(
                kind="fake",
                name=name,
                base_url="http://127.0.0.1:1",
                api_key="",
                models=[(alias, "gpt-4o")],
                input_nano_per_mtok=1_000_000_000,
                output_nano_per_mtok=2_000_000_000,
            )
        )
        costs = {"standard>1000": 3_000_000_000, "batch": 500_000_000}
        tiers = [
            Proposed(
                model=f"{name}/gpt-4o",
                tier=tier,
                meter="input",
                cost_nano_per_mtok=cost,
                sell_nano_per_mtok=cost * 3 // 2,
            )
            for tier, cost in costs.items()
        ]
        enter(tiers, using=PLATFORM)
    return Offered(alias)


def simulate(actor: Actor, **body: Any) -> Any:
    return actor.client.post(SIMULATIONS, body, format="json")


def own_model(company: Company, *, input_nano: int = 0) -> str:
    alias = f"own-{secrets.token_hex(6)}"
    with company.scope(), transaction.atomic():
        caller = company.owner.principal
        connection = create_connection(caller=caller, name=secrets.token_hex(6), kind="fake")
        create_deployment(caller=caller, connection_id=connection.id, model=alias, input_nano_per_mtok=input_nano)
    return alias


def used(company: Company, alias: str, *, tokens: int, output: int = 0, days_ago: int = 1) -> None:
    event = usage_event(
        company.owner,
        alias=alias,
        at=timezone.now() - timedelta(days=days_ago),
        tokens=Tokens(input=tokens, output=output),
        charge=Charge(cost_nano=1, sell_nano=100, lines=()),
    )
    on_loop(record_usage(event))


def all_prices(actor: Actor) -> dict[str, Any]:
    found, cursor = {}, ""
    for _ in range(50):
        page = actor.client.get(PRICES, {"limit": 20, **({"cursor": cursor} if cursor else {})}).json()
        assert len(page["data"]) <= 20
        found |= {one["model"]: one for one in page["data"]}
        cursor = page["next_cursor"]
        if cursor is None:
            return found
    raise AssertionError("pages without end")


def test_prices_in_force_are_listed_by_tier_without_what_they_cost_the_platform(
    company: Company, offered: Offered
) -> None:
    model = all_prices(company.bob)[offered.alias]
    tiers = {(tier["service"], tier["above_tokens"]): tier["prices"] for tier in model["tiers"]}
    assert set(tiers) == {("standard", 0), ("standard", 1000), ("batch", 0), ("batch", 1000)}
    long = {price["meter"]: price for price in tiers["standard", 1000]}
    assert (long["input"]["nano_per_mtok"], long["output"]["nano_per_mtok"]) == (4_500_000_000, 2_000_000_000)
    assert not model["own"]
    assert {price["cost_nano_per_mtok"] for prices in tiers.values() for price in prices} == {None}


def test_one_sees_ones_own_models_with_their_cost_and_nobody_elses(company: Company, neighbour: Company) -> None:
    alias = own_model(company, input_nano=7)
    mine = all_prices(company.alice)[alias]
    assert mine["own"]
    assert {p["meter"]: p["cost_nano_per_mtok"] for p in mine["tiers"][0]["prices"]}["input"] == 7
    assert alias not in all_prices(neighbour.owner)
    assert simulate(neighbour.owner, model=alias, tokens={"input": 1}).status_code == 404


def test_a_simulation_says_the_lines_and_the_tier(company: Company, offered: Offered) -> None:
    answer = simulate(company.bob, model=offered.alias, tokens={"input": 1_001, "output": 10})
    assert answer.status_code == 200
    (option,) = answer.json()["options"]
    assert [(line["meter"], line["tokens"], line["tier"], line["nano"]) for line in option["lines"]] == [
        ("input", 1_001, "standard>1000", 4_504_500),
        ("output", 10, "standard", 20_000),
    ]
    assert (option["tier"], option["nano"], option["cost_nano"]) == ("standard>1000", 4_524_500, None)
    batch = simulate(company.alice, model=offered.alias, service="batch", tokens={"input": 1_000}).json()["options"][0]
    assert (batch["tier"], batch["nano"]) == ("batch", 750_000)


def test_a_text_is_counted_as_the_model_would(company: Company, offered: Offered) -> None:
    body = simulate(company.alice, model=offered.alias, text="hello world", output_tokens=5).json()
    assert body["tokens"] == {"input": 2, "output": 5}
    assert body["options"][0]["nano"] == 2 * 1_000 + 5 * 2_000


def test_past_use_is_priced_anew_request_by_request(company: Company, offered: Offered) -> None:
    for tokens in (1_000, 1_000, 1_001):
        used(company, "old", tokens=tokens, output=10)
    used(company, "another", tokens=1_000)
    used(company, "old", tokens=999, days_ago=20)
    now = timezone.now()
    period = {"since": (now - timedelta(days=2)).isoformat(), "until": now.isoformat(), "model": "old"}
    body = simulate(company.owner, model=offered.alias, usage=period).json()
    assert (body["requests"], body["charged_nano"], body["tokens"]) == (3, 300, {"input": 3_001, "output": 30})
    assert body["options"][0]["nano"] == 2_000 * 1_000 + 1_001 * 4_500 + 30 * 2_000
    everything = simulate(company.owner, model=offered.alias, usage={**period, "model": None}).json()
    assert everything["requests"] == 4


def test_a_period_of_no_use_comes_to_nothing(company: Company, offered: Offered) -> None:
    now = timezone.now()
    period = {"since": (now - timedelta(days=2)).isoformat(), "until": now.isoformat()}
    body = simulate(company.owner, model=offered.alias, usage=period).json()
    assert (body["requests"], body["charged_nano"], body["tokens"]) == (0, 0, {})
    assert body["options"][0]["nano"] == 0


def test_past_use_is_for_those_who_may_read_it(company: Company, neighbour: Company, offered: Offered) -> None:
    used(neighbour, "old", tokens=5)
    now = timezone.now()
    period = {"since": (now - timedelta(days=2)).isoformat(), "until": now.isoformat()}
    refused = simulate(company.bob, model=offered.alias, usage=period)
    assert (refused.status_code, refused.json()["details"]) == (403, {"permission": "usage.read"})
    assert simulate(company.owner, model=offered.alias, usage=period).json()["requests"] == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"tokens": {"input": 1}, "text": "x"},
        {"tokens": {"input": -1}},
        {"tokens": {"input": 10**9}},
        {"tokens": {"input": 1.5}},
        {"tokens": {"words": 1}},
        {"tokens": {"input": 1, "input_audio": 2}},
        {"tokens": {"input": 1}, "service": "cheap"},
        {"text": "x" * 100_001},
        {"text": "x", "output_tokens": -1},
        {"usage": {"since": "2026-01-01T00:00:00Z"}},
        {"usage": {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}},
        {"usage": {"since": "2026-01-01T00:00:00Z", "until": "2026-12-01T00:00:00Z"}},
        {"tokens": {"input": 1}, "surprise": True},
    ],
)
def test_what_cannot_be_priced_is_refused(company: Company, offered: Offered, body: dict[str, Any]) -> None:
    assert simulate(company.owner, model=offered.alias, **body).status_code == 400


def test_a_model_that_is_not_there_is_not_priced(company: Company) -> None:
    answer = simulate(company.owner, model=str(uuid.uuid4()), tokens={"input": 1})
    assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")
