"""A request's id is minted here, and is the same in the answer, in errors and in the log."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from rest_framework.test import APIClient

from config.logs import logging_config
from kernel.ids import parse_uuid


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged, as it would be written."""
    written = io.StringIO()
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
