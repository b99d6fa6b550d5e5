"""Operators see what the platform offers, what providers serve, and what keeps a model from being used."""

import json
import secrets
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import structlog
from django.core.management import call_command
from django.utils import timezone

from billing.models import Price
from kernel.redis import sync_redis
from providers.models import PlatformConnection, PlatformDeployment
from providers.pipeline.upkeep import alert_key
from providers.services import offers
from providers.services.connections import Offer, add_provider
from tests.isolation.roles import administrator

UNDONE = (
    "DELETE FROM providers_platformroutetarget t USING providers_platformroute r"
    " WHERE r.id = t.route_id AND starts_with(r.alias, %(name)s)",
    "DELETE FROM providers_platformroute WHERE starts_with(alias, %(name)s)",
    "DELETE FROM providers_platformdeployment d USING providers_platformconnection c"
    " WHERE c.id = d.connection_id AND c.name = %(name)s",
    "DELETE FROM providers_platformconnection WHERE name = %(name)s",
)


@pytest.fixture
def name() -> Iterator[str]:
    """The name of a connection with two models; gone afterwards, so that nobody else sees what is wrong with it."""
    name = f"offered-{secrets.token_hex(4)}"
    models = ((f"{name}-a", "alpha"), (f"{name}-b", "beta"))
    add_provider(Offer("openai", name, "https://api.example.com/v1", "sk-offered", models, 1_000, 2_000))
    yield name
    with administrator() as admin:
        for statement in UNDONE:
            admin.execute(statement, {"name": name})


def listed(name: str) -> dict[str, Any]:
    """The connection, as a program reads it."""
    said = StringIO()
    before = name[:-1] + chr(ord(name[-1]) - 1) + "~"
    call_command("list_providers", after=before, json=True, stdout=said)
    (found,) = [one for one in json.loads(said.getvalue())["connections"] if one["name"] == name]
    assert "sk-offered" not in said.getvalue()
    return dict(found)


def problems(name: str) -> list[list[str]]:
    return [model["problems"] for model in listed(name)["models"]]


def test_connections_are_shown_with_what_their_providers_serve(name: str) -> None:
    found = listed(name)
    assert (found["kind"], found["published"], found["published_at"]) == ("openai", [], None)
    assert [(one["model"], one["aliases"], one["problems"]) for one in found["models"]] == [
        ("alpha", [f"{name}-a"], []),
        ("beta", [f"{name}-b"], []),
    ]
    rows = PlatformConnection.objects.using("platform").filter(name=name)
    rows.update(published_models=["alpha", "gamma"], published_at=timezone.now())
    assert listed(name)["published"] == ["alpha", "gamma"]
    said = StringIO()
    call_command("list_providers", after=name[:-1], stdout=said)
    assert f"  alpha: {name}-a\n" in said.getvalue()
    assert "UTC: alpha, gamma" in said.getvalue()


def test_what_keeps_a_model_from_being_used_is_named(name: str) -> None:
    rows = PlatformConnection.objects.using("platform").filter(name=name)
    deployment = PlatformDeployment.objects.using("platform").get(connection__name=name, model="alpha")
    with administrator() as admin:
        admin.execute("ALTER TABLE billing_price DISABLE TRIGGER USER")
        admin.execute("DELETE FROM billing_price WHERE model = %s", (deployment.price_model,))
        admin.execute("ALTER TABLE billing_price ENABLE TRIGGER USER")
    assert not Price.objects.filter(model=deployment.price_model).exists()
    assert problems(name) == [["it has no price"], []]
    sync_redis().set(alert_key(deployment.id), b"1", ex=60)
    assert problems(name)[0][1:] == ["its provider refused the key, the model or the address within the hour"]
    rows.update(secret=b"not a secret of ours")
    assert problems(name)[1] == ["its key can't be read with this installation's master key"]
    rows.update(secret=None)
    assert problems(name)[1] == ["OpenAI needs a key, and there is none"]
    rows.update(kind="gone")
    assert problems(name)[1] == ["there is no provider 'gone'"]


def test_operators_find_it_in_the_log(name: str) -> None:
    PlatformConnection.objects.using("platform").filter(name=name).update(secret=None)
    with structlog.testing.capture_logs() as lines:
        assert offers.tell_of_problems() >= 2
    told = {one["deployment"]: one for one in lines if one["event"] == "deployment_misconfigured"}
    for model in ("alpha", "beta"):
        line = told[f"{name}/{model}"]
        assert (line["log_level"], line["platform"]) == ("error", True)
        assert line["problems"] == ("OpenAI needs a key, and there is none",)


def test_they_come_in_pages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offers, "PAGE", 1)
    found, after = [], name[:-1]
    while page := offers.connections_offered(after=after):
        assert len(page) == 1
        found.append(page[0].name)
        after = page[0].name
    assert name in found
    assert found == sorted(set(found))
