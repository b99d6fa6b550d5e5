"""Mallory owns another company. Whatever she asks for by alice's ids doesn't exist, word for word."""

import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from rest_framework.test import APIClient

from kernel.ids import uuid7
from tenants.permissions import BUILTIN_ROLES, PERMISSIONS
from tests.isolation.calls import Call, Form, Made, calls, routes
from tests.isolation.conftest import Cast


def of_each(*chosen: Call) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("call", chosen, ids=lambda call: call.name)


closed = [call for call in calls() if not call.public]
views = {route.path: route.view for route in routes()}


def lacking() -> list[tuple[Call, str]]:
    """Each call with each role that lacks its permission."""
    needed = [(call, views[call.route].permissions[call.method]) for call in closed]  # type: ignore[attr-defined]
    return [
        (call, role)
        for call, permission in needed
        for role, has in BUILTIN_ROLES.items()
        if permission in PERMISSIONS - has
    ]


def send(
    client: APIClient, call: Call, ids: Mapping[str, uuid.UUID | str], body: Mapping[str, Any] | Form | None
) -> Any:
    if isinstance(body, Form):
        data, kind = body.encoded()
        return client.generic(call.method, call.path(ids), data=data, content_type=kind)
    return client.generic(
        call.method,
        call.path(ids),
        data=client._encode_json(body, "application/json") if body is not None else b"",
        content_type="application/json",
    )


def elsewhere(ids: Mapping[str, uuid.UUID | str]) -> dict[str, uuid.UUID]:
    """The same path, naming nothing."""
    return {name: uuid7() for name in ids}


def comparable(response: Any) -> tuple[object, ...]:
    """An answer without what differs between any two requests."""
    body = response.json() if response.content else None
    if isinstance(body, dict):
        body.pop("request_id", None)
    headers = {name: value for name, value in response.headers.items() if name.lower() != "x-request-id"}
    return response.status_code, body, headers


def mallorys(cast: Cast, credential: str) -> APIClient:
    if credential == "session":
        return cast.theirs.owner.client
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {cast.their_key}")
    return client


def test_every_route_has_an_example_call() -> None:
    served = {f"{method} {route.path}" for route in routes() for method in route.methods}
    assert served == {call.name for call in calls()}
    assert len(calls()) == len({call.name for call in calls()})


@of_each(*calls())
def test_alice_succeeds(cast: Cast, call: Call) -> None:
    made = call.make(cast.ours)
    assert send(cast.ours.owner.client, call, made.ids, made.body).status_code == call.status


@of_each(*[call for call in closed if call.takes_ids])
def test_mallory_finds_nothing_where_alice_succeeds(cast: Cast, call: Call) -> None:
    again = call.make(cast.ours)
    for credential in ("session", "key"):
        body = call.make(cast.theirs).body
        refused = send(mallorys(cast, credential), call, again.ids, body)
        unknown = send(mallorys(cast, credential), call, elsewhere(again.ids), body)
        assert comparable(refused) == comparable(unknown)
        assert refused.status_code == 404, refused.content
        assert refused.json()["code"] == "not_found"
    # What mallory tried left no trace: the very same thing still answers to alice.
    assert send(cast.ours.owner.client, call, again.ids, again.body).status_code == call.status


@of_each(*[call for call in closed if call.route.count("<") > 1])
def test_one_foreign_id_among_ones_own_is_as_good_as_unknown(cast: Cast, call: Call) -> None:
    hers, his = call.make(cast.theirs), call.make(cast.ours)
    client = cast.theirs.owner.client
    for name in hers.ids:
        refused = send(client, call, {**hers.ids, name: his.ids[name]}, hers.body)
        unknown = send(client, call, {**hers.ids, name: uuid7()}, hers.body)
        assert comparable(refused) == comparable(unknown)
        assert refused.status_code == 404
    assert send(client, call, hers.ids, hers.body).status_code == call.status


@of_each(*[call for call in closed if call.private])
def test_what_is_private_does_not_exist_for_colleagues(cast: Cast, call: Call) -> None:
    made = call.make(cast.ours)
    admin = cast.by_role["admin"].client
    refused, unknown = send(admin, call, made.ids, made.body), send(admin, call, elsewhere(made.ids), made.body)
    assert comparable(refused) == comparable(unknown)
    assert refused.status_code == 404


@of_each(*[call for call in closed if call.foreign])
def test_ids_in_a_body_are_as_good_as_unknown(cast: Cast, call: Call) -> None:
    hers, his = call.make(cast.theirs), call.make(cast.ours)
    assert isinstance(hers.body, Mapping)
    assert isinstance(his.body, Mapping)
    for name, nothing in call.foreign.items():
        absent = dict(hers.body) | {name: nothing or str(uuid7())}
        foreign = dict(hers.body) | {name: his.body[name]}
        client = cast.theirs.owner.client
        refused, unknown = send(client, call, hers.ids, foreign), send(client, call, hers.ids, absent)
        assert comparable(refused) == comparable(unknown)
        assert refused.status_code in (400, 403, 404), refused.content


def body_of(answer: Any) -> str:
    """All of an answer, also of one that is written while it is read."""
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return str(content.decode())


@of_each(*[call for call in closed if not call.takes_ids])
def test_answers_name_only_ones_own(cast: Cast, call: Call) -> None:
    made = call.make(cast.ours)
    mine = send(cast.ours.owner.client, call, {}, made.body)
    assert all(str(listed) in body_of(mine) for listed in made.listed)
    hers = send(cast.theirs.owner.client, call, {}, call.make(cast.theirs).body)
    assert hers.status_code == call.status
    ours = cast.ours
    secrets = {str(ours.id), ours.tenant.slug, *map(str, made.listed)}
    secrets |= {text for actor in cast.by_role.values() for text in (str(actor.membership_id), str(actor.person_id))}
    assert not [text for text in secrets if text in body_of(hers)]


@of_each(*closed)
def test_nobody_gets_nothing(cast: Cast, call: Call) -> None:
    made = call.make(cast.ours)
    answers = [
        send(APIClient(headers=headers), call, ids, made.body)
        for ids in (made.ids, elsewhere(made.ids))
        for headers in ({}, {"Authorization": "Bearer x.y.z"}, {"Authorization": "Basic YTpi"})
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.json()["code"] for answer in answers} == {"not_authenticated"}
    assert comparable(answers[0]) == comparable(answers[3])


@pytest.mark.parametrize(("call", "role"), lacking(), ids=lambda value: getattr(value, "name", value))
def test_a_role_without_the_permission_is_refused(cast: Cast, call: Call, role: str) -> None:
    needed = views[call.route].permissions[call.method]  # type: ignore[attr-defined]
    made = call.make(cast.ours)
    answer = send(cast.by_role[role].client, call, made.ids, made.body)
    assert answer.status_code == 403
    assert answer.json()["details"] == {"permission": needed}
    assert comparable(answer) == comparable(send(cast.by_role[role].client, call, elsewhere(made.ids), made.body))


def test_a_made_thing_is_made_anew(cast: Cast) -> None:
    """The registry's promise, on which the comparisons rest."""
    for call in calls():
        if call.method == "DELETE":
            first, second = call.make(cast.ours), call.make(cast.ours)
            assert isinstance(first, Made)
            assert first.ids != second.ids
