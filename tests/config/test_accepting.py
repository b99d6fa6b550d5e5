"""How processes that share a listening socket share what comes. Two listeners stand for two processes."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from config import accepting
from config.accepting import Board, SharedListener
from tests.support.patience import soon


class _Held(asyncio.Protocol):
    """A connection that is kept."""

    def __init__(self, held: "list[_Held]") -> None:
        self._held = held
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._held.append(self)


class _Process:
    """One of those that share the socket, and what it has."""

    def __init__(self, listening: socket.socket, board: Board | None) -> None:
        self.held: list[_Held] = []
        self.listener = SharedListener(
            listening.dup(), lambda: _Held(self.held), board=board, count=lambda: len(self.held)
        )


@pytest_asyncio.fixture
async def listening() -> AsyncIterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=200) as bound:
        yield bound


async def _connect(listening: socket.socket, count: int) -> list[asyncio.StreamWriter]:
    opened = await asyncio.gather(*(asyncio.open_connection(*listening.getsockname()) for _ in range(count)))
    return [writer for _, writer in opened]


async def _until(held: int, *processes: _Process) -> None:
    async with soon():
        while sum(len(process.held) for process in processes) < held:
            await asyncio.sleep(0.005)


async def _end(processes: list[_Process], clients: list[asyncio.StreamWriter]) -> None:
    for process in processes:
        process.listener.close()
        await process.listener.wait_closed()
        for one in process.held:
            assert one.transport is not None
            one.transport.close()
    for client in clients:
        client.close()


async def test_two_share_what_comes_evenly(
    listening: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For longer than the machine stalls: who steps back gets no connection because the other came too late.
    monkeypatch.setattr(accepting, "STEP_BACK_S", 0.1)
    Board.make(tmp_path / "board", 2)
    processes = [_Process(listening, Board(tmp_path / "board", index)) for index in range(2)]
    clients = await _connect(listening, 40)
    await _until(40, *processes)

    assert sorted(len(process.held) for process in processes) == [20, 20]

    await _end(processes, clients)


async def test_one_takes_all_where_the_others_take_none(listening: socket.socket, tmp_path: Path) -> None:
    """They are busy, or have ended: the board goes on to say that they have fewer."""
    Board.make(tmp_path / "board", 3)
    alone = _Process(listening, Board(tmp_path / "board", 1))
    clients = await _connect(listening, 40)
    await _until(40, alone)

    assert len(alone.held) == 40

    await _end([alone], clients)


async def test_a_socket_shared_with_nobody_known(listening: socket.socket) -> None:
    alone = _Process(listening, None)
    clients = await _connect(listening, 5)
    await _until(5, alone)

    assert len(alone.listener.sockets) == 1
    await _end([alone], clients)
    assert alone.listener.sockets == ()


async def test_who_has_no_files_left_waits_and_goes_on(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "PAUSE_S", 0.01)
    refusals = iter([errno.EMFILE, errno.ENOBUFS, errno.ECONNABORTED])

    class Short(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            if refusal := next(refusals, None):
                raise OSError(refusal, "none left")
            return super().accept()

    held: list[_Held] = []
    short = Short(fileno=listening.dup().detach())
    listener = SharedListener(short, lambda: _Held(held), board=None, count=lambda: len(held))
    clients = await _connect(listening, 3)
    async with soon():
        while len(held) < 3:
            await asyncio.sleep(0.005)
    listener.close()
    for one in [*held]:
        assert one.transport is not None
        one.transport.close()
    for client in clients:
        client.close()

    assert list(refusals) == []
