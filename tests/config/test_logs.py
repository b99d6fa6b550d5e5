"""What may stand in a log."""

import json
import logging
import logging.config
from collections.abc import Iterator

import pytest
import structlog

from config.logs import logging_config

pytestmark = pytest.mark.no_database


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Loggers already in use keep the list of processors that they had, and other tests look at that."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_a_traceback_says_where_and_not_what() -> None:
    formatter_config = logging_config(level="INFO", style="json")["formatters"]["parley"]
    formatter = formatter_config.pop("()")(**formatter_config)
    secret = "sk-" + "never-to-be-logged"
    try:
        _fail(secret)
    except ValueError as error:
        record = logging.LogRecord(
            "parley", logging.ERROR, __file__, 1, "failed", None, (ValueError, error, error.__traceback__)
        )
    said = formatter.format(record)
    frames = json.loads(said)["exception"][0]["frames"]
    assert [frame["name"] for frame in frames][-1] == "_fail"
    assert secret not in said


def _fail(api_key: str) -> None:
    held = {"authorization": api_key}
    raise ValueError(f"{len(held)} header can't be sent")
