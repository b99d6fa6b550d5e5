"""What every embedder is, and the one thread that each works in.

Questions are embedded in one thread with few compute threads, in batches where many wait: a model that takes all
cores would make the event loop, which answers everyone, wait for a core. The queue is bounded, and so is the time a
caller waits."""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from providers.semantic.errors import EmbedderBusy

Vectors = npt.NDArray[np.float32]

MAX_WAITING = 256
"""Calls that may wait for the thread; one more is refused."""
MAX_BATCH_TEXTS = 32
CROWD = 8
"""Two texts take nearly twice as long as one, and whoever is batched waits for all of it: while fewer calls wait than this, each
is taken alone (docs/adr/0015-semantic-cache.md)."""
TIMEOUT_S = 5.0
"""How long a call waits for its vectors."""
IDLE_S = 60.0
"""After so long without work the thread ends; the next call begins another."""
MAX_TEXT_CHARS = 20_000
"""What is beyond is cut before tokens are counted: more than any model here reads."""


class Embedder(Protocol):
    """Texts to vectors. `name` says which model with which weights: vectors of two names have nothing to do with each
    other."""

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text, of length 1. Raises EmbedderMissing, EmbedderBusy."""
        ...


def normalised(rows: Vectors) -> Vectors:
    """Each row at length 1 (a row of zeros stays)."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Vectors = (rows / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


@dataclass(slots=True)
class _Call:
    texts: list[str]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Vectors]"
    dropped: bool = field(default=False)


class Batcher:
    """Runs `encode` (texts to rows) in a thread of its own, on batches of what waits, for callers on any number of
    event loops.

    Texts longer than the others of a batch make all of it slow, so a batch is ordered by length and cut into parts of
    `MAX_BATCH_TEXTS`."""

    def __init__(
        self,
        encode: Callable[[list[str]], Vectors],
        *,
        name: str,
        max_waiting: int = MAX_WAITING,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._encode = encode
        self._name = name
        self._timeout_s = timeout_s
        self._waiting: queue.Queue[_Call] = queue.Queue(maxsize=max_waiting)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    async def run(self, texts: Sequence[str]) -> Vectors:
        """The rows of the texts. Raises EmbedderBusy, and whatever `encode` raises."""
        loop = asyncio.get_running_loop()
        call = _Call([text[:MAX_TEXT_CHARS] for text in texts], loop, loop.create_future())
        with self._lock:
            try:
                self._waiting.put_nowait(call)
            except queue.Full:
                raise EmbedderBusy from None
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"embedder {self._name}", daemon=True)
                self._thread.start()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await call.future
        except TimeoutError:
            raise EmbedderBusy("The embedder took too long.") from None
        finally:
            call.dropped = True

    def _work(self) -> None:
        while (calls := self._next()) is not None:
            live = [call for call in calls if not call.dropped]
            if not live:
                continue
            try:
                rows = self._rows([text for call in live for text in call.texts])
            except Exception as failure:  # noqa: BLE001  handed to each caller, who raises it
                for call in live:
                    _tell(call, None, failure)
                continue
            start = 0
            for call in live:
                _tell(call, rows[start : start + len(call.texts)], None)
                start += len(call.texts)

    def _next(self) -> list[_Call] | None:
        """What waits, up to a batch; a single call while few wait. None if nothing came for long, and then this thread has
        ended."""
        try:
            calls = [self._waiting.get(timeout=IDLE_S)]
        except queue.Empty:
            with self._lock:
                if self._waiting.empty():
                    self._thread = None
                    return None
            return []
        count = len(calls[0].texts)
        if self._waiting.qsize() < CROWD:
            return calls
        while count < MAX_BATCH_TEXTS:
            try:
                calls.append(self._waiting.get_nowait())
            except queue.Empty:
                break
            count += len(calls[-1].texts)
        return calls

    def _rows(self, texts: list[str]) -> Vectors:
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        parts = [order[start : start + MAX_BATCH_TEXTS] for start in range(0, len(order), MAX_BATCH_TEXTS)]
        rows: Vectors = np.concatenate([self._encode([texts[index] for index in part]) for part in parts])
        back = np.empty_like(rows)
        back[order] = rows
        return back


def _tell(call: _Call, rows: Vectors | None, failure: Exception | None) -> None:
    def settle() -> None:
        if call.future.done():
            return
        if failure is not None:
            call.future.set_exception(failure)
        elif rows is not None:
            call.future.set_result(rows)

    try:
        call.loop.call_soon_threadsafe(settle)
    except RuntimeError:
        # The caller's loop has closed: nobody waits for it any more.
        return
