"""What is sent: where a URL leads, and the head of a request for it."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from yarl import URL

_MAX_URLS = 4_096


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom to connect to. `kind` tells connections apart that were judged by different rules."""

    host: str
    port: int
    tls: bool
    kind: str


@dataclass(frozen=True, slots=True)
class Place:
    """A URL as it is asked for: `target` is what follows the method, `host` the field of that name, `authorization` what
    credentials in the URL come to."""

    origin: Origin
    target: str
    host: str
    authorization: str | None = field(default=None, repr=False)


@lru_cache(maxsize=_MAX_URLS)
def place_of(url: URL | str, kind: str) -> Place:
    """Where a URL leads. Raises ValueError for one that leads nowhere."""
    read = URL(url) if isinstance(url, str) else url
    if read.scheme not in ("http", "https") or not read.raw_host or read.port is None:
        raise ValueError("not a URL of HTTP")
    origin = Origin(read.raw_host, read.port, read.scheme == "https", kind)
    said = None
    if read.user is not None or read.password is not None:
        pair = f"{read.user or ''}:{read.password or ''}".encode()
        said = f"Basic {base64.b64encode(pair).decode()}"
    return Place(origin, read.raw_path_qs, read.host_port_subcomponent or read.raw_host, said)


def head_of(method: str, place: Place, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """The head of a request. Raises ValueError for a value that would end its line, or can't be written."""
    lines = [f"{method} {place.target} HTTP/1.1", f"Host: {place.host}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if place.authorization is not None and "Authorization" not in headers:
        lines.append(f"Authorization: {place.authorization}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1 or "\0" in head:
        raise ValueError("a line of the head holds the end of one")
    return head.encode() + b"\r\n\r\n"
