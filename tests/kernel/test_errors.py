"""One error tree, one envelope, whatever goes wrong and wherever."""

import asyncio
import json
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import RequestDataTooBig
from django.db import InternalError, OperationalError, connection
from django.http import Http404
from django.test import Client
from psycopg.errors import ReadOnlySqlTransaction
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.test import APIClient, APIRequestFactory

from chat import store
from kernel import errors
from kernel.api.errors import bad_request, json_error, server_error
from kernel.api.views import PublicAPIView
from tests.support.cast import Company

KEYS = {"type", "code", "message", "request_id", "details"}


def tree(root: type[errors.ParleyError]) -> list[type[errors.ParleyError]]:
    return [root, *(below for child in root.__subclasses__() for below in tree(child))]


def test_every_error_of_the_tree_has_a_code_a_family_and_a_status_of_its_own() -> None:
    own = [kind for kind in tree(errors.ParleyError) if kind.__module__ == "kernel.errors"]
    for kind in own:
        assert kind().message
        assert 400 <= kind.status <= 504
    codes = [kind.code for kind in own if kind not in (errors.ParleyError, errors.InternalError)]
    assert len(codes) == len(set(codes))


def test_the_trees_drawing_is_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for kind in tree(errors.ParleyError):
        if kind.__module__ == "kernel.errors":
            line = next(line for line in drawn.splitlines() if kind.__name__ in line.split())
            assert {str(kind.status), kind.code} <= set(line.split())


def answer(raised: BaseException) -> Any:
    class Failing(PublicAPIView):
        def get(self, request: object) -> Response:
            raise raised

    response = Failing.as_view()(APIRequestFactory().get("/"))
    response.render()
    return response


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (errors.Conflict("Taken.", details={"a": 1}), 409, "conflict"),
        (errors.PaymentRequired(), 402, "payment_required"),
        (Http404("secret detail"), 404, "not_found"),
        (DjangoPermissionDenied("secret detail"), 403, "permission_denied"),
        (ReadOnlySqlTransaction("a standby takes no writes"), 503, "unavailable"),
        (RequestDataTooBig("secret detail"), 413, "payload_too_large"),
        (OperationalError("secret detail"), 503, "unavailable"),
        (drf.MethodNotAllowed("GET"), 405, "method_not_allowed"),
        (drf.NotAcceptable(), 400, "invalid_request"),
        (drf.UnsupportedMediaType("text/html"), 415, "unsupported_media_type"),
        (drf.Throttled(7), 429, "rate_limited"),
        (drf.ParseError("what?"), 400, "invalid_request"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_whatever_is_raised_leaves_in_the_envelope(raised: Exception, status: int, code: str) -> None:
    response = answer(raised)
    body = json.loads(response.content)
    assert body.keys() == KEYS
    assert body["code"] == code
    assert response.status_code in (status, 406)
    assert "secret detail" not in response.content.decode()


def test_an_unforeseen_error_says_nothing_of_itself() -> None:
    response = answer(RuntimeError("a password in a traceback"))
    assert response.status_code == 500
    assert json.loads(response.content)["code"] == "internal_error"
    assert b"traceback" not in response.content


def test_a_rate_limit_says_when_to_come_back() -> None:
    assert answer(errors.RateLimited(retry_after_s=9)).headers["Retry-After"] == "9"
    assert errors.RateLimited(retry_after_s=-2).headers == {"Retry-After": "1"}


def test_401_names_the_scheme() -> None:
    assert answer(errors.NotAuthenticated()).headers["WWW-Authenticate"] == 'Bearer realm="parley"'


def test_a_wrong_field_is_named(acme: Company) -> None:
    response = acme.owner.client.patch("/api/v1/me", {"name": "", "nickname": "x"}, format="json")
    body = response.json()
    assert response.status_code == 400
    assert {field["field"] for field in body["details"]["fields"]} == {"nickname"}
    response = acme.owner.client.patch("/api/v1/me", {"name": ""}, format="json")
    assert response.json()["message"].startswith("name: ")


@pytest.mark.parametrize("body", ["{", "[]", '"x"', "null", "\x00", '{"name": {"a": 1}}', '{"name": "\\ud800"}'])
def test_garbage_is_a_bad_request(acme: Company, body: str) -> None:
    response = acme.owner.client.generic("PATCH", "/api/v1/me", body, content_type="application/json")
    assert response.status_code == 400
    assert response.json().keys() == KEYS


def test_an_unknown_path_answers_in_the_envelope() -> None:
    response = Client().get("/api/v1/nothing-here")
    assert response.status_code == 404
    assert response.json().keys() == KEYS
    assert response.json()["request_id"] == response.headers["x-request-id"]


def test_an_error_quotes_half_a_character_as_what_utf_8_can_hold(acme: Company) -> None:
    client = acme.owner.client
    for body in ('{"kind": "\\ud800"}', '{"kind": "private", "\\ud800": 1}'):
        response = client.post("/api/v1/rooms", body, content_type="application/json")
        assert response.status_code == 400, response.content
        assert response.json().keys() == KEYS
        assert "?" in response.json()["message"]


def test_what_fails_outside_of_views_answers_in_the_envelope() -> None:
    request = APIRequestFactory().get("/")
    assert server_error(request).status_code == 500
    assert bad_request(request).status_code == 400
    assert json.loads(json_error(errors.RateLimited()).content).keys() == KEYS


def test_the_request_id_is_ours_and_the_clients_is_only_logged(acme: Company) -> None:
    response = acme.owner.client.get("/api/v1/me", headers={"x-request-id": "mine"})
    again = acme.owner.client.get("/api/v1/me", headers={"x-request-id": "mine"})
    assert response.headers["x-request-id"] not in ("mine", again.headers["x-request-id"])


def test_head_is_where_get_is(acme: Company) -> None:
    assert acme.owner.client.head("/api/v1/members").status_code == 200
    assert acme.vera.client.head("/api/v1/members").status_code == 403
    assert APIClient().head("/api/v1/members").status_code == 401
    assert acme.owner.client.options("/api/v1/members").status_code == 200
    assert APIClient().options("/api/v1/members").status_code == 401


def test_a_database_that_takes_no_writes_is_unavailable_by_whichever_way_it_is_asked(acme: Company) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")
        try:
            with pytest.raises(InternalError) as by_django:
                cursor.execute("DELETE FROM kernel_outboxmessage")
        finally:
            cursor.execute("RESET default_transaction_read_only")
    assert answer(by_django.value).status_code == 503

    async def write() -> None:
        async with store.transaction(acme.tenant.id) as opened:
            await opened.execute("SET TRANSACTION READ ONLY")
            await opened.execute("DELETE FROM kernel_outboxmessage")

    with pytest.raises(errors.Unavailable):
        asyncio.run(write())
