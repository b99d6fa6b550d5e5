"""The REST API keeps to its own OpenAPI document, whatever it is sent."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from chat import answering as seam
from kernel.errors import NotFound
from tests.isolation.calls import Call, Form, Made, calls
from tests.support.answers import FakeAnswering
from tests.support.cast import Actor, Company

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
OWNERS_EXAMPLES, VIEWERS_EXAMPLES = 4, 2
"""Random requests to each operation. A viewer is refused most of them before they are looked at."""
REACHED = 0.9


@pytest.fixture(scope="module")
def schema() -> Any:
    return schemathesis.openapi.from_wsgi("/api/schema/?format=json", get_wsgi_application())


class NoModels(FakeAnswering):
    """Rooms of a tenant that has no model."""

    async def choose_model(self, **_: Any) -> str:
        raise NotFound


@pytest.fixture(autouse=True)
def _no_models() -> Iterator[None]:
    """Rooms ask for a model here as they do in a process that serves."""
    bound = list(seam._bound)
    seam.bind(NoModels())
    yield
    seam._bound[:] = bound


@pytest.fixture(autouse=True)
def _no_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of wrong log-ins from one address are what this test is about, not what it is after."""
    monkeypatch.setattr(settings, "LOGIN_ATTEMPTS_PER_ADDRESS", 10**9)
    monkeypatch.setattr(settings, "LOGIN_ATTEMPTS_PER_ACCOUNT", 10**9)


def example_of(operation: Any) -> Call | None:
    """The example call of an operation of the schema."""
    for call in calls():
        if call.method == operation.method.upper() and templated(call) == operation.path:
            return call
    return None


def templated(call: Call) -> str:
    return "/api/v1/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", call.route)


def operations(schema: Any) -> list[Any]:
    return [result.ok() for result in schema.get_all_operations()]


def headers_of(actor: Actor) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {actor.access_token()}"}


def send(operation: Any, made: Made, headers: Mapping[str, str]) -> Any:
    """The example call, checked against the schema."""
    case = operation.Case(
        path_parameters={name: str(value) for name, value in made.ids.items()},
        **sent(made),
    )
    return case.call_and_validate(headers=dict(headers), checks=CHECKS)


def sent(made: Made) -> dict[str, Any]:
    """What an example sends, as schemathesis is told it."""
    if isinstance(made.body, Form):
        return {"body": {"file": made.body.content}, "media_type": "multipart/form-data"}
    return {"body": dict(made.body), "media_type": "application/json"} if made.body is not None else {}


def test_every_operation_of_ours_has_an_example(schema: Any) -> None:
    ours = [operation for operation in operations(schema) if operation.path.startswith("/api/v1/")]
    assert len(ours) >= 17
    assert [f"{operation.method} {operation.path}" for operation in ours if example_of(operation) is None] == []


@pytest.mark.timeout(180)
def test_the_owner_gets_somewhere_and_nothing_leaves_the_schema(schema: Any, company: Company) -> None:
    reached = []
    for operation in operations(schema):
        call = example_of(operation)
        assert call is not None, operation.path
        answer = send(operation, call.make(company), headers_of(company.alice))
        reached.append(200 <= answer.status_code < 300)
        fuzz(operation, call, company, headers_of(company.alice), examples=OWNERS_EXAMPLES)
    assert sum(reached) >= REACHED * len(reached)


@pytest.mark.timeout(180)
def test_a_viewer_is_answered_within_the_schema(schema: Any, company: Company) -> None:
    for operation in operations(schema):
        call = example_of(operation)
        assert call is not None, operation.path
        send(operation, call.make(company), headers_of(company.vera))
        fuzz(operation, call, company, headers_of(company.vera), examples=VIEWERS_EXAMPLES)


def fuzz(operation: Any, call: Call, company: Company, headers: Mapping[str, str], *, examples: int) -> None:
    """Random input made from the schema; half of it with an id that is really there."""
    ids = {name: str(value) for name, value in call.make(company).ids.items()}
    turn = iter(range(10**6))

    @given(case=operation.as_strategy())
    @hypothesis_settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case: Any) -> None:
        if ids and next(turn) % 2:
            case.path_parameters = dict(ids)
        case.call_and_validate(headers=dict(headers), checks=CHECKS)

    run()
