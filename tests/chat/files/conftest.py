"""REST by the front door, in the tests' own process."""

import pytest
from django.db import connections


@pytest.fixture(autouse=True)
def _connections_end_with_their_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request over ASGI has a thread of its own, whose connection nobody else would close."""
    monkeypatch.setitem(connections.databases["default"], "CONN_MAX_AGE", 0)
