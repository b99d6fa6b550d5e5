"""Where a connection's provider is and how a model is written to can be said, by operators and in REST, and bad words are
refused."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command
from django.db import transaction

from providers import routes
from providers.models import PlatformConnection, PlatformDeployment
from providers.routes import ResolvedDeployment, resolve_route
from tenants.models import AuditEvent
from tests.providers.test_connections import create, created, deploy, patch
from tests.support.cast import Actor, Company


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    routes._kept.forget_where(lambda _: True)
    yield
    routes._kept.forget_where(lambda _: True)


def resolved(company: Company, alias: str) -> ResolvedDeployment:
    (deployment,) = async_to_sync(resolve_route)(company.bob.principal, alias).deployments
    return deployment


def add(name: str, **options: str) -> None:
    call_command(
        "add_provider",
        "openai-compatible",
        name=name,
        base_url="http://127.0.0.1:9",
        models=[f"{name}=m"],
        input_price="0",
        output_price="0",
        **options,
    )


def test_an_operator_says_both(company: Company) -> None:
    name = f"p-{secrets.token_hex(4)}"
    add(name, region="eu-central-1", prompt_format="chatml")
    found = resolved(company, name)
    assert (found.region, found.prompt_format) == ("eu-central-1", "chatml")
    add(name)
    assert PlatformConnection.objects.using("platform").get(name=name).region == "eu-central-1", "unsaid, it stays"
    add(name, region="", prompt_format="plain")
    assert PlatformConnection.objects.using("platform").get(name=name).region == ""
    assert PlatformDeployment.objects.using("platform").get(connection__name=name).prompt_format == "plain"


@pytest.mark.parametrize("said", [{"region": "EU Central"}, {"region": "x" * 33}, {"prompt_format": "runes"}])
def test_an_operators_bad_word_adds_nothing(said: dict[str, str]) -> None:
    name = f"p-{secrets.token_hex(4)}"
    with pytest.raises(CommandError, match=next(iter(said))):
        add(name, **said)
    assert not PlatformConnection.objects.using("platform").filter(name=name).exists()


def test_a_tenant_says_both(company: Company) -> None:
    made = created(company.alice, region="us-east-1")
    assert made["region"] == "us-east-1"
    answer = deploy(company.alice, made, alias="mine", prompt_format="llama-3")
    assert (answer.status_code, answer.json()["prompt_format"]) == (201, "llama-3")
    assert deploy(company.alice, made, model="chats").json()["prompt_format"] == ""
    found = resolved(company, "mine")
    assert (found.region, found.prompt_format) == ("us-east-1", "llama-3")
    assert patch(company.alice, made, region="eu-west-1").json()["region"] == "eu-west-1"
    assert patch(company.alice, made, name="another").json()["region"] == "eu-west-1"
    assert patch(company.alice, made, region="").json()["region"] == ""


@pytest.mark.parametrize("region", ["EU", "eu central", "-eu", "eu-", "x" * 33, "eu\nwest", None, ["eu"]])
def test_a_tenants_bad_region_changes_nothing(company: Company, region: Any) -> None:
    made = created(company.alice, region="eu-west-1")
    assert patch(company.alice, made, region=region).status_code == 400
    if region is not None:
        refused = create(company.alice, region=region)
        assert (refused.status_code, "region" in refused.content.decode()) == (400, True)


def test_a_tenants_bad_prompt_format_makes_nothing(company: Company) -> None:
    made = created(company.alice)
    refused = deploy(company.alice, made, prompt_format="runes")
    assert (refused.status_code, refused.json()["details"]) == (400, {"param": "prompt_format"})
    assert company.alice.client.get(f"/api/v1/connections/{made['id']}/deployments").json()["data"] == []


def test_a_tenant_changes_how_a_model_is_written_to(company: Company, neighbour: Company) -> None:
    made = created(company.alice)
    model = deploy(company.alice, made, alias="mine").json()
    path = f"/api/v1/connections/{made['id']}/deployments/{model['id']}"

    def change(who: Actor, **body: Any) -> Any:
        return who.client.patch(path, body, format="json")

    answer = change(company.alice, prompt_format="chatml")
    assert (answer.status_code, answer.json()) == (200, {**model, "prompt_format": "chatml"})
    assert resolved(company, "mine").prompt_format == "chatml"
    assert change(company.alice).json()["prompt_format"] == "chatml"
    refused = change(company.alice, prompt_format="runes")
    assert (refused.status_code, refused.json()["details"]) == (400, {"param": "prompt_format"})
    assert (change(company.bob, prompt_format="").status_code, change(neighbour.alice).status_code) == (403, 404)
    assert change(company.alice, prompt_format="").json()["prompt_format"] == ""
    with company.scope(), transaction.atomic():
        told = list(
            AuditEvent.objects.filter(action="deployment.updated").order_by("id").values_list("data", flat=True)
        )
    assert [one["prompt_format"] for one in told] == [["", "chatml"], ["chatml", ""]]
