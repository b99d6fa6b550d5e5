"""Requests to where tenants say: sessions for adapters, and the fetching of one document."""

import asyncio
import re
from dataclasses import dataclass, field
from functools import cache, lru_cache

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar
from django.conf import settings

from kernel.egress.addresses import Policy
from kernel.egress.connector import Guard, Lookup, MakeSocket, guarded_connector, plain_socket, system_lookup
from kernel.egress.errors import FetchFailed
from kernel.egress.urls import Destination, parse
from kernel.net import parse_network

MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS = 100
CONNECT_TIMEOUT_S = 5.0
_MAX_PARSED = 4_096

_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,63}/[a-z0-9!#$&^_.+-]{1,63}")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A document. `content_type` is its media type in lower case, without parameters, as its host calls it."""

    content_type: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Client:
    """Calls what `policy` admits. `lookup` and `make_socket` are seams for tests."""

    policy: Policy
    lookup: Lookup = system_lookup
    make_socket: MakeSocket = plain_socket

    def check(self, url: str) -> Destination:
        """Where a URL leads, as far as its text tells. Raises `URLRefused`."""
        return _parsed(url, self.policy)

    def session(self, *, inside: bool) -> ClientSession:
        """A new session for destinations of this kind. Ask it with `Destination.url` and `allow_redirects=False`; bodies
        come as they were sent, never unpacked. Whoever opens it closes it."""
        return ClientSession(
            connector=guarded_connector(self.policy, inside=inside, lookup=self.lookup, make_socket=self.make_socket),
            cookie_jar=DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )

    def guard(self, *, inside: bool) -> Guard:
        """What a client of its own has to ask before it connects to destinations of this kind."""
        return Guard(self.policy, inside=inside, lookup=self.lookup, make_socket=self.make_socket)

    async def fetch(self, url: str, *, max_bytes: int, timeout_s: float) -> Fetched:
        """The document at a URL: at most `max_bytes`, within `timeout_s` seconds in all.

        Raises `URLRefused` for one that is not called, and `FetchFailed` for one that brought no such document.
        """
        destination = self.check(url)
        try:
            async with (
                asyncio.timeout(timeout_s),
                self.session(inside=destination.inside) as session,
                session.get(
                    destination.url,
                    headers={"Accept-Encoding": "identity", "User-Agent": "parley"},
                    allow_redirects=False,
                    timeout=ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                ) as response,
            ):
                return await _document(response, max_bytes)
        except TimeoutError as error:
            raise FetchFailed("The URL did not answer in time.") from error
        except (ClientError, OSError, ValueError) as error:
            raise FetchFailed from error


async def _document(response: ClientResponse, max_bytes: int) -> Fetched:
    if 300 <= response.status < 400:
        raise FetchFailed("The URL redirects elsewhere; give the address of the document itself.")
    if not 200 <= response.status < 300:
        raise FetchFailed(f"The URL answered with HTTP {response.status}.")
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise FetchFailed("The URL answered in an encoding that was not asked for.")
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > max_bytes:
            raise FetchFailed(f"The URL's document is larger than {max_bytes} bytes.")
    named = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Fetched(named if _MEDIA_TYPE.fullmatch(named) else "application/octet-stream", bytes(body))


def client() -> Client:
    """The client by this deployment's settings."""
    return _client(tuple(settings.EGRESS_ALLOWED_NETWORKS), tuple(settings.EGRESS_PORTS))


_parsed = lru_cache(maxsize=_MAX_PARSED)(parse)


@cache
def _client(networks: tuple[str, ...], ports: tuple[int, ...]) -> Client:
    return Client(Policy(tuple(parse_network(text) for text in networks), frozenset(ports)))


async def fetch(url: str, *, max_bytes: int, timeout_s: float) -> Fetched:
    """See `Client.fetch`; by this deployment's settings."""
    return await client().fetch(url, max_bytes=max_bytes, timeout_s=timeout_s)
