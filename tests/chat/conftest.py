"""What tests of rooms share: answers in the test's hands, and an event loop left clean."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
import pytest_asyncio
import uvicorn

from chat import answering as seam
from chat import lifecycle
from chat.services.members import add_member
from chat.services.rooms import create_room
from chat.shapes import RoomShape
from config.asgi import application
from tests.support.answers import FakeAnswering
from tests.support.cast import Company


@pytest.fixture(autouse=True)
def answering() -> Iterator[FakeAnswering]:
    """Models answer what the test says."""
    bound = list(seam._bound)
    fake = FakeAnswering()
    seam.bind(fake)
    yield fake
    seam._bound[:] = bound


@pytest_asyncio.fixture(autouse=True)
async def _no_rooms_left(_no_pools_left: None) -> AsyncIterator[None]:
    """Close what the test's event loop holds for rooms, before its pools."""
    yield
    await lifecycle.close()


@pytest.fixture
def nothing_late(database: str) -> None:
    """No generation that an earlier test left: the reaper takes whatever is late, of every tenant."""
    with psycopg.connect(database) as connection:
        connection.execute("""
            UPDATE chat_generation
            SET status = 'interrupted', finished_at = now(), lease_owner = NULL, lease_until = NULL
            WHERE status IN ('queued', 'streaming')
        """)


@pytest.fixture
def make_room(company: Company) -> Callable[..., Coroutine[Any, Any, RoomShape]]:
    """Makes rooms of alice's; shared ones have bob in them."""

    async def make(kind: str = "private", **options: Any) -> RoomShape:
        room = await create_room(member=company.alice.principal, kind=kind, **options)
        if kind == "shared":
            await add_member(member=company.alice.principal, room_id=room.id, membership_id=company.bob.membership_id)
        return room

    return make


@pytest_asyncio.fixture
async def server(_no_rooms_left: None) -> AsyncIterator[str]:
    """The socket of a real server, in this event loop."""
    async with serving() as url:
        yield url


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """uvicorn on a port of its own, with the web process' application."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application, lifespan="off", log_config=None, ws_ping_interval=None)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[method-assign,attr-defined]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"
    finally:
        server.should_exit = True
        server.force_exit = True
        await task
        listener.close()
