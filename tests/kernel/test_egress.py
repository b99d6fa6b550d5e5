"""Nothing that a tenant names brings Parley to an address that isn't public."""

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from kernel.egress import Client, EgressError, FetchFailed, Policy, URLRefused
from kernel.egress.addresses import is_public
from kernel.egress.connector import AddrInfo
from kernel.net import parse_network
from tests.kernel.hostile_urls import NAMES, NOT_PUBLIC_V4, NOT_PUBLIC_V6, corpus, lookup

pytestmark = pytest.mark.no_database

PUBLIC = [
    "93.184.216.34",
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.0.1",
    "172.32.0.1",
    "192.167.1.1",
    "198.17.1.1",
]
PUBLIC_V6 = ["2606:4700:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"]
EVERYWHERE = tuple(parse_network(text) for text in ("0.0.0.0/0", "::/0"))
LOOPBACK = (parse_network("127.0.0.0/8"),)


class Listener:
    """Counts the connections made to any address of this machine at its port."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0
        self._servers: list[asyncio.Server] = []

    async def __aenter__(self) -> "Listener":
        four = await asyncio.start_server(self._came, "0.0.0.0", 0)  # noqa: S104 - that is what it is for
        self.port = four.sockets[0].getsockname()[1]
        self._servers.append(four)
        with contextlib.suppress(OSError):
            self._servers.append(await asyncio.start_server(self._came, "::1", self.port))
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()

    async def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


class Sockets:
    """Makes sockets and notes the addresses they are for; only those of this machine get one."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    def __call__(self, info: AddrInfo) -> socket.socket:
        address = str(info[4][0])
        self.addresses.append(address)
        if ipaddress.ip_address(address).is_loopback:
            return socket.socket(info[0], info[1], info[2])
        raise OSError(errno.ENETUNREACH, "no tests on the network")


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    async with Listener() as running:
        yield running


async def tried(client: Client, urls: Sequence[str]) -> Iterator[BaseException | None]:
    """What became of fetching each."""

    async def one(url: str) -> BaseException | None:
        try:
            await client.fetch(url, max_bytes=1_000, timeout_s=5.0)
        except Exception as error:  # noqa: BLE001 - which one is what the tests look at
            return error
        return None

    return iter([await one(url) for url in urls])


async def test_no_hostile_url_reaches_anything(listener: Listener) -> None:
    urls = corpus(listener.port)
    sockets = Sockets()
    # The listener's port is allowed: that is not why they fail.
    client = Client(Policy(ports=frozenset({443, listener.port})), lookup=lookup, make_socket=sockets)
    outcomes = dict(zip(urls, await tried(client, urls), strict=True))
    assert {url: error for url, error in outcomes.items() if not isinstance(error, EgressError)} == {}
    assert sockets.addresses == []
    assert listener.connections == 0


async def test_the_listener_would_have_seen_them(listener: Listener) -> None:
    sockets = Sockets()
    client = Client(Policy(allowed_networks=EVERYWHERE), lookup=lookup, make_socket=sockets)
    await tried(client, corpus(listener.port))
    assert listener.connections >= 25
    assert len(sockets.addresses) >= 150
    assert "169.254.169.254" in sockets.addresses


async def test_a_refusal_says_nothing_of_what_a_name_resolves_to(listener: Listener) -> None:
    """Else it would be a map of the private network."""
    client = Client(Policy(ports=frozenset({listener.port})), lookup=lookup, make_socket=Sockets())
    outcomes = await tried(client, [f"https://{name}:{listener.port}/" for name in NAMES])
    assert {str(error) for error in outcomes} == {str(FetchFailed())}


@pytest.mark.parametrize("address", [*PUBLIC, *PUBLIC_V6])
async def test_public_hosts_are_connected_to_at_just_the_address_that_was_checked(address: str) -> None:
    sockets = Sockets()
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return [address]

    client = Client(Policy(), lookup=resolve, make_socket=sockets)
    with pytest.raises(FetchFailed):
        await client.fetch("https://api.example.com/v1", max_bytes=10, timeout_s=5.0)
    assert asked == ["api.example.com"]
    assert sockets.addresses == [address]


@pytest.mark.parametrize("address", [*NOT_PUBLIC_V4, *NOT_PUBLIC_V6])
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


async def test_rebinding_a_name_does_not_help(listener: Listener) -> None:
    """The name is public when it is first asked for, and this machine ever after."""
    answers = iter(["93.184.216.34"])
    asked = 0

    async def rebinding(host: str, port: int) -> list[str]:
        nonlocal asked
        asked += 1
        return [next(answers, "127.0.0.1")]

    sockets = Sockets()
    client = Client(Policy(ports=frozenset({listener.port})), lookup=rebinding, make_socket=sockets)
    url = f"https://rebind.example:{listener.port}/"
    for _ in range(20):
        with pytest.raises(FetchFailed):
            await client.fetch(url, max_bytes=10, timeout_s=5.0)
    assert asked == 20
    assert sockets.addresses == ["93.184.216.34"]
    assert listener.connections == 0


async def test_a_session_judges_each_socket_even_past_its_resolver(listener: Listener) -> None:
    """An address in the URL itself is never resolved."""
    sockets = Sockets()
    client = Client(Policy(ports=frozenset({listener.port})), lookup=lookup, make_socket=sockets)
    async with client.session(inside=False) as session:
        for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"):
            with pytest.raises(OSError, match="not a public one"):
                await session.get(f"https://{host}:{listener.port}/", allow_redirects=False)
    assert (sockets.addresses, listener.connections) == ([], 0)


def test_an_operators_exception_is_for_its_network_alone() -> None:
    client = Client(Policy(allowed_networks=LOOPBACK))
    assert client.check("http://127.0.0.1:8080/v1").inside
    assert client.check("https://127.0.0.1/v1").inside is False
    for url in ("http://10.0.0.1/", "https://10.0.0.1/", "http://8.8.8.8/", "https://8.8.8.8:8443/", "http://[::1]/"):
        with pytest.raises(URLRefused):
            client.check(url)


async def test_a_public_host_is_never_called_over_http_or_at_another_port_because_of_an_exception() -> None:
    sockets = Sockets()

    async def public(host: str, port: int) -> list[str]:
        return ["93.184.216.34"]

    client = Client(Policy(allowed_networks=LOOPBACK), lookup=public, make_socket=sockets)
    for url in ("http://api.example.com/", "https://api.example.com:8443/"):
        with pytest.raises(FetchFailed):
            await client.fetch(url, max_bytes=10, timeout_s=5.0)
    assert sockets.addresses == []


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://API.OpenAI.com:443/v1",
        "https://xn--bcher-kva.example/a%20b?x=1&y=%C3%A4",
        "https://8.8.8.8/v1",
        "https://[2606:4700:4700::1111]/v1",
        "https://my_account.example.com/",
    ],
)
def test_plain_urls_pass(url: str) -> None:
    destination = Client(Policy()).check(url)
    assert (destination.port, destination.inside, destination.url.scheme) == (443, False, "https")


def test_the_corpus_is_large_and_has_each_url_once() -> None:
    urls = corpus(8443)
    assert len(urls) == len(set(urls)) >= 300
