"""What a hostile host answers costs little, leads nowhere, and is never repeated."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from kernel.egress import Client, FetchFailed, Policy
from kernel.net import parse_network

pytestmark = pytest.mark.no_database

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]
SECRET = "the host's own words"
MAX_BYTES = 100_000


class Host:
    """Answers every request by a script, and counts what it could send and who came."""

    def __init__(self) -> None:
        self.script: Script = self.document
        self.connections = 0
        self.sent = 0
        self.heads: list[str] = []
        self.port = 0

    async def document(self, writer: asyncio.StreamWriter) -> None:
        await self.send(writer, b"HTTP/1.1 200 OK\r\nContent-Type: Image/PNG; x=y\r\nContent-Length: 5\r\n\r\nhello")

    async def send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(data)
        await writer.drain()
        self.sent += len(data)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            await self.script(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.heads.append("gone")
        finally:
            writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/image"


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    host = Host()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    host.port = server.sockets[0].getsockname()[1]
    yield host
    server.close()


@pytest.fixture
def client() -> Client:
    return Client(Policy(allowed_networks=(parse_network("127.0.0.1"),)))


async def failed(client: Client, host: Host, script: Script, *, timeout_s: float = 5.0) -> str:
    """What the caller is told."""
    host.script = script
    with pytest.raises(FetchFailed) as refused:
        await client.fetch(host.url, max_bytes=MAX_BYTES, timeout_s=timeout_s)
    told = str(refused.value) + repr(refused.value.details)
    assert SECRET not in told
    assert "127.0.0.1" not in told
    return told


async def test_a_document_is_fetched(client: Client, host: Host) -> None:
    fetched = await client.fetch(host.url, max_bytes=5, timeout_s=5.0)
    assert (fetched.content_type, fetched.body) == ("image/png", b"hello")
    (head,) = host.heads
    assert head.startswith("GET /image HTTP/1.1\r\n")
    for name in ("cookie", "authorization", "referer"):
        assert name not in head.lower()


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/elsewhere", "http://169.254.169.254/latest/", "https://evil.example/"])
async def test_redirects_are_not_followed(client: Client, host: Host, status: int, location: str) -> None:
    async def redirect(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} x\r\nLocation: {location}\r\nContent-Length: {len(SECRET)}\r\n\r\n{SECRET}"
        await host.send(writer, head.encode())

    assert "redirects" in await failed(client, host, redirect)
    assert host.connections == 1


@pytest.mark.parametrize("status", [201, 400, 401, 403, 404, 500, 503])
async def test_only_a_good_answer_is_a_document(client: Client, host: Host, status: int) -> None:
    async def refuse(writer: asyncio.StreamWriter) -> None:
        await host.send(writer, f"HTTP/1.1 {status} x\r\nContent-Length: 20\r\n\r\n{SECRET}".encode())

    if status == 201:
        host.script = refuse
        assert (await client.fetch(host.url, max_bytes=100, timeout_s=5.0)).body.decode() == SECRET
        return
    assert f"HTTP {status}" in await failed(client, host, refuse)


async def test_a_huge_body_is_left_off(client: Client, host: Host) -> None:
    async def huge(writer: asyncio.StreamWriter) -> None:
        await host.send(writer, b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(10_000):
            await host.send(writer, b"x" * 65_536)

    assert "larger than" in await failed(client, host, huge)
    assert host.sent < 32 * 1024 * 1024


async def test_a_body_of_just_the_limit_is_whole(client: Client, host: Host) -> None:
    async def exact(writer: asyncio.StreamWriter) -> None:
        await host.send(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)

    host.script = exact
    assert len((await client.fetch(host.url, max_bytes=MAX_BYTES, timeout_s=5.0)).body) == MAX_BYTES
    with pytest.raises(FetchFailed):
        await client.fetch(host.url, max_bytes=MAX_BYTES - 1, timeout_s=5.0)


async def test_packed_bodies_are_not_unpacked(client: Client, host: Host) -> None:
    packed = gzip.compress(b"\0" * 50_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode()

    async def bomb(writer: asyncio.StreamWriter) -> None:
        await host.send(writer, head + packed)

    assert "encoding" in await failed(client, host, bomb)


async def trickle(host: Host, writer: asyncio.StreamWriter, first: bytes, again: bytes) -> None:
    await host.send(writer, first)
    while True:
        await host.send(writer, again)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    ],
)
async def test_slow_answers_end_in_time(client: Client, host: Host, first: bytes, again: bytes) -> None:
    started = asyncio.get_running_loop().time()
    told = await failed(client, host, lambda writer: trickle(host, writer, first, again), timeout_s=0.3)
    assert "in time" in told
    assert asyncio.get_running_loop().time() - started < 3.0


@pytest.mark.parametrize("line", [b"X-Filler: " + b"x" * 1_000 + b"\r\n", b"X: " + b"y" * 60_000])
async def test_endless_headers_end(client: Client, host: Host, line: bytes) -> None:
    async def headers(writer: asyncio.StreamWriter) -> None:
        await host.send(writer, b"HTTP/1.1 200 OK\r\n")
        for _ in range(20_000):
            await host.send(writer, line)

    assert await failed(client, host, headers)
    assert host.sent < 16 * 1024 * 1024


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"])
async def test_broken_answers_are_failures(client: Client, host: Host, answer: bytes) -> None:
    assert await failed(client, host, lambda writer: host.send(writer, answer))


async def test_an_odd_media_type_is_none(client: Client, host: Host) -> None:
    async def odd(writer: asyncio.StreamWriter) -> None:
        await host.send(writer, b"HTTP/1.1 200 OK\r\nContent-Type: <script>\r\nContent-Length: 0\r\n\r\n")

    host.script = odd
    fetched = await client.fetch(host.url, max_bytes=10, timeout_s=5.0)
    assert (fetched.content_type, fetched.body) == ("application/octet-stream", b"")


async def test_a_slow_resolver_keeps_nobody_waiting() -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        raise socket.gaierror

    client = Client(Policy(), lookup=never)
    with pytest.raises(FetchFailed, match="in time"):
        await client.fetch("https://slow.example/", max_bytes=10, timeout_s=0.1)
