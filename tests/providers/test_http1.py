"""The HTTP client that upstreams are asked by, against servers that say whatever a test wants, byte by byte."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from providers import http
from providers.base import Target, Timeouts
from providers.errors import HIDDEN, Misconfigured, ProviderError, Rejected, Transient
from providers.http import Upstreams
from providers.http1.connection import MAX_HEAD_BYTES
from providers.http1.dial import Plain
from providers.http1.pool import Pool
from providers.http1.request import head_of, place_of
from tests.support.patience import soon

pytestmark = pytest.mark.no_database

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SHORT = Timeouts(connect_s=1.0, first_token_s=1.0, between_tokens_s=1.0, total_s=0.3)
PATIENT = Timeouts(connect_s=5.0, total_s=10.0)


class Server:
    """Says `pieces` to each request, one after the other, and then hangs up if it is to."""

    def __init__(self) -> None:
        self.pieces: Sequence[bytes] = (OK,)
        self.hangs_up = False
        self.heads: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.before: Callable[[], Awaitable[None]] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                if self.before is not None:
                    await self.before()
                for piece in self.pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if self.hangs_up:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.open -= 1
            writer.close()


class Vendor:
    def headers(self, target: Target) -> dict[str, str]:
        return {"Authorization": f"Bearer {target.secret}"}

    def refusal(self, *, status: int, headers: Any, body: bytes) -> ProviderError:
        return Rejected(f"{status} {headers.get('x-why', '')} {body.decode()}")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def target(server: Server) -> AsyncIterator[Target]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    yield Target("p", f"http://127.0.0.1:{port}/v1/", "m", secret="sk-secret-of-some-length")
    listening.close()


@pytest.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    upstreams = Upstreams(Vendor())
    yield upstreams
    await upstreams.close()


async def _until(true: Callable[[], bool]) -> None:
    async with soon():
        while not true():
            await asyncio.sleep(0.005)


async def _stream(upstreams: Upstreams, target: Target) -> bytes:
    async with upstreams.response("POST", "/x", target, PATIENT, b"{}") as reply:
        body = http.Body(reply, hide=target.secret)
        pieces = []
        while piece := await body.read():
            pieces.append(piece)
        return b"".join(pieces)


WHOLE: dict[str, tuple[bytes, ...]] = {
    "at once": (OK,),
    "byte by byte": tuple(bytes([byte]) for byte in OK),
    "in chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n", b"1\r\nk\r\n0\r\n\r\n"),
    "with trailers": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: b\r\n\r\n",),
    "after others": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK,),
    "without carriage returns": (OK.replace(b"\r\n", b"\n"),),
    "with padded chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nok\r\n0\r\n\r\n",),
}


@pytest.mark.parametrize("pieces", WHOLE.values(), ids=WHOLE.keys())
async def test_a_body_in_any_shape_is_read_and_the_connection_used_again(
    pieces: tuple[bytes, ...], server: Server, target: Target, upstreams: Upstreams
) -> None:
    server.pieces = pieces
    assert await upstreams.whole("POST", "/x", target, PATIENT, b"{}") == b"ok"
    assert await _stream(upstreams, target) == b"ok"
    assert (server.connections, len(server.heads)) == (1, 2)


SECRET = b"sk-secret-of-some-length"
SAYS_IT = b"s sk-secret sk-" + SECRET + SECRET + b" sk-sk-secret-of-some-lengt"


@pytest.mark.parametrize("size", [1, 2, 7, len(SECRET), len(SECRET) + 1, 1_000])
async def test_a_stream_that_says_the_secret_is_read_without_it(
    size: int, server: Server, target: Target, upstreams: Upstreams
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(SAYS_IT)
    server.pieces = (head, *[SAYS_IT[at : at + size] for at in range(0, len(SAYS_IT), size)])
    assert await _stream(upstreams, target) == SAYS_IT.replace(SECRET, HIDDEN.encode())
    assert await _stream(upstreams, replace(target, secret=None)) == SAYS_IT


async def test_what_is_sent(server: Server, target: Target, upstreams: Upstreams) -> None:
    await upstreams.whole("GET", "/a b/é?q=1", replace(target, headers={"X-Own": "1"}), PATIENT)
    lines = server.heads[0].decode().split("\r\n")
    assert lines[0] == "GET /v1/a%20b/%C3%A9?q=1 HTTP/1.1"
    assert lines[1] == "Host: " + target.base_url.split("/")[2]
    assert {"Authorization: Bearer sk-secret-of-some-length", "X-Own: 1", "Accept-Encoding: identity"} <= set(lines)
    assert not any(line.startswith("Content-") for line in lines)


async def test_a_body_that_says_no_length_ends_with_its_connection(
    server: Server, target: Target, upstreams: Upstreams
) -> None:
    server.pieces, server.hangs_up = (b"HTTP/1.1 200 OK\r\n\r\n", b"al", b"l"), True
    assert await upstreams.whole("POST", "/x", target, PATIENT, b"{}") == b"all"
    assert await _stream(upstreams, target) == b"all"
    assert server.connections == 2


BROKEN: dict[str, tuple[bytes, ...]] = {
    "nothing": (),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-Le",),
    "half a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",),
    "half a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",),
    "no last chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n",),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\nokok",),
    "an encoding": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",),
    "another protocol": (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello",),
}


@pytest.mark.parametrize("pieces", BROKEN.values(), ids=BROKEN.keys())
async def test_an_answer_that_is_none_is_cut_and_its_connection_closed(
    pieces: tuple[bytes, ...], server: Server, target: Target, upstreams: Upstreams
) -> None:
    server.pieces, server.hangs_up = pieces, True
    for asking in (upstreams.whole("POST", "/x", target, PATIENT, b"{}"), _stream(upstreams, target)):
        with pytest.raises(Transient) as failed:
            await asking
        assert failed.value.cause == "cut"
    await _until(lambda: server.open == 0)
    assert server.connections == 2


async def test_what_a_server_says_unasked_is_taken_for_no_answer(
    server: Server, target: Target, upstreams: Upstreams
) -> None:
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
    server.pieces = (OK + poison,)
    assert await upstreams.whole("POST", "/x", target, PATIENT, b"{}") == b"ok"
    assert await upstreams.whole("POST", "/x", target, PATIENT, b"{}") == b"ok"
    assert server.connections == 2
    late = asyncio.Event()

    async def said_later() -> None:
        server.pieces = (OK, poison) if late.is_set() else (OK,)

    server.before = said_later
    late.set()
    assert await upstreams.whole("POST", "/x", target, PATIENT, b"{}") == b"ok"
    await _until(lambda: server.open == 0)
    assert await upstreams.whole("POST", "/x", target, PATIENT, b"{}") == b"ok"


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 1000,) + (b"a" * 16_384,) * 40,
        (b"HTTP/1.1 200 OK\r\n",) + (b"X: y\r\n" * 1_000,) * 40,
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: ",) + (b"a" * 16_384,) * 40,
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500,) * 40,
    ],
    ids=["a long field", "many fields", "a long trailer", "many early hints"],
)
async def test_heads_without_end_are_not_held(
    pieces: tuple[bytes, ...], server: Server, target: Target, upstreams: Upstreams
) -> None:
    assert sum(map(len, pieces)) > 2 * MAX_HEAD_BYTES
    server.pieces = pieces
    async with soon():
        with pytest.raises(Transient) as failed:
            await upstreams.whole("POST", "/x", target, PATIENT, b"{}")
    assert failed.value.cause == "cut"
    await _until(lambda: server.open == 0)


async def test_an_answer_that_is_too_long_is_garbage(
    server: Server, target: Target, upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_ANSWER_BYTES", 1)
    with pytest.raises(Transient) as failed:
        await upstreams.whole("POST", "/x", target, PATIENT, b"{}")
    assert failed.value.cause == "garbage"


async def test_a_refusal_is_read_as_far_as_it_comes(server: Server, target: Target, upstreams: Upstreams) -> None:
    head = b"HTTP/1.1 400 Bad\r\nX-Why: so\r\nContent-Length: 99\r\n\r\n"
    server.pieces, server.hangs_up = (head, b"it says sk-secret-of-some-length"), True
    for asking in (upstreams.whole("POST", "/x", target, PATIENT, b"{}"), _stream(upstreams, target)):
        with pytest.raises(Rejected) as refused:
            await asking
        assert "400 so it says" in str(refused.value)
        assert "sk-secret-of-some-length" not in str(refused.value)


async def test_an_answer_that_does_not_come_is_late(server: Server, target: Target, upstreams: Upstreams) -> None:
    server.pieces = (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no",)
    with pytest.raises(Transient) as failed:
        await upstreams.whole("POST", "/x", target, SHORT, b"{}")
    assert failed.value.cause == "timeout"
    await _until(lambda: server.open == 0)


async def test_who_is_cancelled_leaves_no_connection(server: Server, target: Target, upstreams: Upstreams) -> None:
    server.pieces = (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no",)
    asking = asyncio.create_task(upstreams.whole("POST", "/x", target, PATIENT, b"{}"))
    await _until(lambda: len(server.heads) == 1)
    asking.cancel()
    await asyncio.wait({asking})
    await _until(lambda: server.open == 0)
    assert asking.cancelled()


async def test_a_slow_reader_holds_the_server_back(server: Server, target: Target, upstreams: Upstreams) -> None:
    size, piece = 64 * 1024 * 1024, b"x" * 65_536
    said = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal said
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while said < size:
            writer.write(piece)
            await writer.drain()
            said += len(piece)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    slow = replace(target, base_url=f"http://127.0.0.1:{port}")
    async with upstreams.response("POST", "/x", slow, PATIENT, b"{}") as reply:
        held = -1
        while held != said:
            held = said
            await asyncio.sleep(0.1)
        assert held < size // 2
        read = 0
        while data := await reply.read():
            read += len(data)
        assert read == size
    listening.close()


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"])
async def test_a_secret_can_not_end_its_line(value: str, server: Server, target: Target, upstreams: Upstreams) -> None:
    with pytest.raises(Misconfigured):
        await upstreams.whole("POST", "/x", replace(target, secret=value), PATIENT, b"{}")
    assert server.heads == []


@pytest.mark.parametrize("url", ["ftp://host/x", "http:///x", "host/x", "", "http://host:99999/x"])
async def test_what_is_no_address_is_misconfigured(url: str, target: Target, upstreams: Upstreams) -> None:
    with pytest.raises(Misconfigured):
        await upstreams.whole("POST", "/x", replace(target, base_url=url), PATIENT, b"{}")


def test_credentials_in_an_address_are_said_unless_there_are_others() -> None:
    place = place_of("http://me:it%40@host:81/x", "plain")
    assert (place.origin.host, place.origin.port, place.host) == ("host", 81, "host:81")
    assert b"Authorization: Basic bWU6aXRA\r\n" in head_of("GET", place, {}, None)
    assert b"Basic" not in head_of("GET", place, {"Authorization": "Bearer x"}, None)
    assert place_of("http://[::1]/", "plain").host == "[::1]"


async def test_nobody_there_is_no_connection(target: Target, upstreams: Upstreams) -> None:
    unused = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = unused.sockets[0].getsockname()[1]
    unused.close()
    await unused.wait_closed()
    with pytest.raises(Transient) as failed:
        await upstreams.whole("POST", "/x", replace(target, base_url=f"http://127.0.0.1:{port}"), PATIENT, b"{}")
    assert failed.value.cause == "connect"


async def test_unused_connections_are_closed(server: Server, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "IDLE_S", 0.05)
    upstreams = Upstreams(Vendor())
    assert await upstreams.whole("POST", "/x", target, PATIENT, b"{}") == b"ok"
    await _until(lambda: server.open == 0)
    assert await upstreams.whole("POST", "/x", target, PATIENT, b"{}") == b"ok"
    assert server.connections == 2
    await upstreams.close()
    await _until(lambda: server.open == 0)


async def test_a_pool_opens_no_more_than_it_may(server: Server, target: Target) -> None:
    pool = Pool(limit=2, idle_s=5, dns_ttl_s=5)
    origin = place_of(target.base_url, "plain").origin
    first, second = [await pool.open(origin, Plain(), timeout_s=5) for _ in range(2)]
    third = asyncio.create_task(pool.open(origin, Plain(), timeout_s=5))
    left = asyncio.create_task(pool.open(origin, Plain(), timeout_s=5))
    await asyncio.sleep(0.02)
    assert not third.done()
    left.cancel()
    pool.give_back(first, origin)
    assert (await third).usable
    assert pool.take_idle(origin) is first
    pool.give_back(second, origin)
    pool.close()
    await _until(lambda: server.open == 0)
