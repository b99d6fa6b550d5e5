"""A web process told to stop: it says so, finishes what it has, and ends in time."""

import resource
import signal
import time
import urllib.error
import urllib.request

import pytest

from config import serve
from tests.config.conftest import Program, Start, wait_for

pytestmark = pytest.mark.no_database

SERVER = """
import asyncio, resource, sys
from config import serve
from kernel import lifecycle

async def linger(timeout_s):
    print(f"draining for at most {timeout_s} s")
    await asyncio.sleep(float(sys.argv[2]))
    print("drained")

async def failing(timeout_s):
    raise RuntimeError("no matter")

lifecycle.on_drain(linger)
lifecycle.on_drain(failing)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("closed")
        print("open files", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        await send({"type": "lifespan.shutdown.complete"})
        return
    status = 503 if lifecycle.is_draining() else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})

serve.APPLICATION = application
serve.main(["--port", sys.argv[1], "--drain-timeout", sys.argv[3]])
print("over")
"""


def status_of(port: int) -> int:
    """What the server answers; 0 when it doesn't."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


@pytest.fixture
def port(unused_tcp_port: int) -> int:
    """A free port."""
    return unused_tcp_port


def serving(program: Start, port: int, *, linger_s: float, drain_s: float = 3.0) -> Program:
    """The server, answering."""
    server = program(SERVER, str(port), str(linger_s), str(drain_s))
    wait_for(lambda: status_of(port) == 200, what="an answer")
    return server


def test_it_answers_503_while_it_drains_and_then_ends(program: Start, port: int) -> None:
    server = serving(program, port, linger_s=0.6)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for_output("draining for at most 3.0 s")
    assert status_of(port) == 503
    assert server.process.wait(10) == 0
    assert server.output.index("drained") < server.output.index("closed") < server.output.index("over")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = serve.OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, serve.OPEN_FILES)
    assert f"open files {most}" in server.output, "a stream takes two, and 256 were allowed to begin with"


def test_a_drain_has_an_end(program: Start, port: int) -> None:
    server = serving(program, port, linger_s=600)
    begin = time.monotonic()
    assert server.end(signal.SIGTERM) == 0
    assert 3 <= time.monotonic() - begin < 60
    assert "drained" not in server.output


def test_asked_twice_it_does_not_wait(program: Start, port: int) -> None:
    server = serving(program, port, linger_s=600, drain_s=300)
    begin = time.monotonic()
    server.process.send_signal(signal.SIGINT)
    server.wait_for_output("draining")
    assert server.end(signal.SIGINT) == 0
    assert time.monotonic() - begin < 60
