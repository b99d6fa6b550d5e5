"""A listening socket that several web processes share, and how they share what comes.

An event loop's own server takes every connection that waits at once: the process that wakes first has them all, and clients that
keep their connections keep to it, while the other processes stand by. Here each says on a board in shared memory how many
it has, and one that has more than another steps back for a moment before it takes the next.
"""

import asyncio
import errno
import mmap
import socket
from collections.abc import Callable
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

STEP_BACK_S = 0.002
"""How long those who have fewer connections get to take one. After that whoever is there takes it."""
PAUSE_S = 1.0
"""After the system had no file or memory left for another connection."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_BYTES = 8


class Board:
    """How many connections each web process has: a file in shared memory, eight bytes for each by its index. What a process
    that ended left there makes the others step back in vain, no more."""

    def __init__(self, path: Path, index: int) -> None:
        with path.open("r+b") as file:
            self._counts = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")
        self._index = index
        self.say(0)

    @staticmethod
    def make(path: Path, processes: int) -> None:
        """A board for so many processes, none of which has any connection."""
        path.write_bytes(bytes(_BYTES * processes))

    def say(self, count: int) -> None:
        """This process has so many."""
        self._counts[self._index] = count

    def fewest_of_others(self) -> int | None:
        """What the least busy of the others has; None if there are none."""
        return min((count for index, count in enumerate(self._counts) if index != self._index), default=None)


class SharedListener:
    """Accepts connections from `listening` on the running loop, each for a new protocol, until closed; `count` tells how many
    this process has. To its owner it is a server like `asyncio.Server`."""

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        board: Board | None,
        count: Callable[[], int],
    ) -> None:
        self._listening = listening
        self._protocol = protocol
        self._board = board
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._closed = False
        listening.setblocking(False)
        self._listen()

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The socket, while it is open."""
        return () if self._closed else (self._listening,)

    def close(self) -> None:
        """Take no more connections. Those that are there stay."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listening)
            self._listening.close()

    async def wait_closed(self) -> None:
        """Until what was being opened is."""
        if self._opening:
            await asyncio.wait(self._opening)

    def _listen(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listening, self._on_ready)

    def _on_ready(self) -> None:
        if self._has_more_than_another():
            self._loop.remove_reader(self._listening)
            self._loop.call_later(STEP_BACK_S, self._take_after_all)
        else:
            self._accept()

    def _has_more_than_another(self) -> bool:
        if self._board is None:
            return False
        mine = self._count() + len(self._opening)
        self._board.say(mine)
        fewest = self._board.fewest_of_others()
        return fewest is not None and fewest < mine

    def _take_after_all(self) -> None:
        if not self._closed:
            self._listen()
            self._accept()

    def _accept(self) -> None:
        """Take one connection; the loop comes back for the next."""
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            # Another process was quicker, or the client has gone.
            return
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            log.error("no_connection_accepted", error=str(error))
            self._loop.remove_reader(self._listening)
            self._loop.call_later(PAUSE_S, self._listen)
            return
        connection.setblocking(False)
        opening = self._loop.create_task(self._open(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError as error:
            connection.close()
            log.info("connection_lost_while_opened", error=str(error))
