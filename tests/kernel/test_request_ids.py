"""A request's id is minted here, and is the same in the answer, in errors and in the log; and what the log says besides."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from django.conf import settings
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.log import log_response
from rest_framework.test import APIClient

from config.logs import logging_config
from kernel.ids import parse_uuid
from kernel.middleware import LoggablePaths

SECRET = "aLinkThatLeadsToWhatWasShared"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged, as it would be written."""
    written, structlogs = io.StringIO(), structlog.get_config()
    config = logging_config(level="INFO", style="json")
    formatter = config["formatters"]["parley"]
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter["()"](**{name: value for name, value in formatter.items() if name != "()"}))
    logger = logging.getLogger("django_structlog")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    yield written
    logger.removeHandler(handler)
    logger.setLevel(level)
    # Loggers already in use keep the list of processors that they had, and other tests look at that.
    structlog.configure(**structlogs)


def test_the_id_in_the_answer_is_the_one_in_the_log(logged: io.StringIO) -> None:
    answer = APIClient().get("/api/v1/me", HTTP_X_REQUEST_ID="a client's own")
    minted = answer["x-request-id"]
    assert parse_uuid(minted) is not None
    assert answer.json()["request_id"] == minted
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert {line["event"] for line in lines} == {"request_started", "request_finished"}
    assert {line["request_id"] for line in lines} == {minted}
    assert {line["client_request_id"] for line in lines} == {"a client's own"}


def test_two_requests_never_share_an_id() -> None:
    client = APIClient()
    assert client.get("/api/v1/me")["x-request-id"] != client.get("/api/v1/me")["x-request-id"]


@pytest.mark.parametrize("path", [f"/share/{SECRET}", f"/api/v1/shared/{SECRET}", f"/api/v1/downloads/{SECRET}"])
def test_a_link_that_is_a_secret_is_not_in_the_log(logged: io.StringIO, path: str) -> None:
    APIClient().get(path)
    APIClient().get(f"{path}/")
    assert "request_finished" in logged.getvalue()
    assert SECRET not in logged.getvalue()


def test_what_somebody_looks_for_is_not_in_the_log(logged: io.StringIO) -> None:
    APIClient().get("/api/v1/messages/search", {"q": "redundancies"})
    assert "GET /api/v1/messages/search" in logged.getvalue()
    assert "redundancies" not in logged.getvalue()


def test_djangos_own_line_about_a_failed_request_leaves_the_secret_out(caplog: pytest.LogCaptureFixture) -> None:
    assert any(isinstance(one, LoggablePaths) for one in logging.getLogger("django.request").filters)
    request = RequestFactory().get(f"/share/{SECRET}")
    with caplog.at_level("ERROR", "django.request"):
        log_response("%s: %s", "Service Unavailable", request.path, response=HttpResponse(status=503), request=request)
    assert caplog.messages == ["Service Unavailable: /share/…"]


def test_every_route_with_a_token_in_it_is_known_to_the_log() -> None:
    routes = [route for route in _routes(get_resolver()) if "token>" in route]
    assert routes
    assert [route for route in routes if not f"/{route}".startswith(settings.SECRET_PATHS)] == []


def _routes(resolver: URLResolver, before: str = "") -> Iterator[str]:
    for one in resolver.url_patterns:
        route = before + str(one.pattern)
        if isinstance(one, URLPattern):
            yield route
        else:
            yield from _routes(one, route)
