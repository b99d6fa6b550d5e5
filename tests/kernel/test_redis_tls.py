"""Redis by TLS: the one connection that all requests share believes whom the address says, as every other client does."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kernel.redis_line import Away, Line
from tests.support.certificates import own_certificate

pytestmark = pytest.mark.no_database


@asynccontextmanager
async def _server(certificate: Path) -> AsyncIterator[int]:
    """Says +PONG to every command, by TLS. Its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(b"+PONG\r\n" * sum(line.startswith(b"*") for line in data.split(b"\r\n")))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("says", ["ssl_ca_certs={certificate}", "ssl_cert_reqs=none"])
async def test_a_server_that_the_address_believes_is_spoken_to(tmp_path: Path, settings: Any, says: str) -> None:
    certificate = own_certificate(tmp_path)
    settings.REDIS_PATIENCE_S = 5.0
    async with _server(certificate) as port:
        settings.REDIS_URL = f"rediss://127.0.0.1:{port}/0?{says.format(certificate=certificate)}"
        line = Line()
        assert await line.call("PING") == b"PONG"
        await line.close()


async def test_a_server_that_nobody_vouches_for_is_not(tmp_path: Path, settings: Any) -> None:
    settings.REDIS_PATIENCE_S = 5.0
    async with _server(own_certificate(tmp_path)) as port:
        settings.REDIS_URL = f"rediss://127.0.0.1:{port}/0"
        with pytest.raises(Away):
            await Line().call("PING")
