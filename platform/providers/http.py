"""Connections to upstreams: one bounded pool per adapter, which is to say per provider, process and event
loop."""

from aiohttp import ClientSession, DummyCookieJar, TCPConnector

MAX_CONNECTIONS = 1_024
IDLE_S = 4.0
"""An unused connection is closed after this long: before servers do, most of which wait 5 s. A POST that goes
out on a connection just as its server closes it fails, and can't be told from one that was worked on."""
DNS_TTL_S = 30
MAX_HEADER_BYTES = 16 * 1024


class HTTPPool:
    """Opens its session with the first request, on the loop that makes it."""

    def __init__(self) -> None:
        self._session: ClientSession | None = None

    def session(self) -> ClientSession:
        """The session; never redirected by cookies, proxies of the environment, or (see the caller)
        redirects."""
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=IDLE_S, ttl_dns_cache=DNS_TTL_S),
                cookie_jar=DummyCookieJar(),
                trust_env=False,
                max_line_size=MAX_HEADER_BYTES,
                max_field_size=MAX_HEADER_BYTES,
            )
        return self._session

    async def close(self) -> None:
        """Close every connection, also those in use. The next request opens a new session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
