"""One HTTP request straight to an ASGI app, no server between."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asgiref.testing import ApplicationCommunicator


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response; a stream is one when it has ended."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


async def request(
    application: Any,
    method: str,
    path: str,
    *,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    peer: str = "127.0.0.1",
    timeout_s: float = 10,
) -> Answer:
    """Send one request and collect its answer. A body of bytes is sent as it is, any other as JSON."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    given = {"host": "testserver", "content-length": str(len(content))} | dict(headers or {})
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "client": (peer, 50000),
        "server": ("testserver", 80),
    }
    communicator = ApplicationCommunicator(application, scope)
    await communicator.send_input({"type": "http.request", "body": content, "more_body": False})
    start = await communicator.receive_output(timeout_s)
    chunks = []
    more = True
    while more:
        message = await communicator.receive_output(timeout_s)
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    await communicator.send_input({"type": "http.disconnect"})
    await communicator.wait(timeout_s)
    return Answer(
        status_code=start["status"],
        headers={name.decode(): value.decode() for name, value in start["headers"]},
        content=b"".join(chunks),
    )
