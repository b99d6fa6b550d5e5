"""The one connection to Redis that all requests share, when it goes away in the middle."""

import asyncio
from typing import Any

import pytest

from kernel.redis_line import Away, Line

pytestmark = pytest.mark.no_database


async def test_nothing_is_left_of_a_connection_that_was_being_opened(settings: Any) -> None:
    """The server takes connections, and answers nothing."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await _heard(reader):
            asked.set()
        writer.close()
        gone.set()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        settings.REDIS_URL = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
        settings.REDIS_PATIENCE_S = settings.REDIS_TIMEOUT_S = 300.0
        line = Line()
        calling = asyncio.create_task(line.call("PING"))
        async with asyncio.timeout(20):
            await asked.wait()
            await line.close()
            with pytest.raises(Away):
                await calling
            await gone.wait()


async def _heard(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65_536)
    except ConnectionError:
        return b""
