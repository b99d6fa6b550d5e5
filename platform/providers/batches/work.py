"""The lines of a batch, a few at a time, for the length of a turn."""

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from typing import IO

import structlog
from django.conf import settings

from kernel.errors import InternalError, NotAuthenticated, ParleyError, PermissionDenied
from kernel.ids import uuid7
from providers.batches import results
from providers.batches.answers import SURFACES, Answer, PutOff, answer_line
from providers.batches.bounds import WAIT_MAX_S
from providers.batches.leases import Claimed
from providers.batches.lines import Asked, Line, derived_id, read_line, read_lines
from providers.batches.objects import opened
from tenants.acting import acting_principal
from tenants.epochs import Subject
from tenants.principals import Principal

log = structlog.get_logger(__name__)

TRIES = 5
"""How often a line is asked in one turn while limits or load are in the way."""


_ending = threading.Event()


def end_turns() -> None:
    """Begin no more lines in this process: it is about to end, and what it leaves others can take up at once."""
    _ending.set()


class CallerGone(Exception):
    """Whoever made the batch may do nothing any more."""


async def principal_of(batch: Claimed) -> Principal:
    """Who made the batch, with the rights they have now. Raises `CallerGone`."""
    try:
        return await acting_principal(Subject(batch.tenant_id, batch.membership_id, batch.api_key_id))
    except (NotAuthenticated, PermissionDenied) as error:
        raise CallerGone(error.message) from error


async def work_off(batch: Claimed) -> bool:
    """Ask the lines that have no result yet, until the turn is over. Whether none is left.

    Lines are begun while the batch is in progress; those that were begun are waited for. Where the next turn begins is
    noted in `batch`. Raises `CallerGone` and FileNotFoundError."""
    principal = await principal_of(batch)
    done = await results.numbers_done(batch.tenant_id, batch.id, since=batch.next_number)
    content = opened(batch.tenant_id, batch.input_file_id)
    file = await asyncio.to_thread(content.__enter__)
    try:
        return await _Turn(batch, principal, done).run(file)
    finally:
        await asyncio.to_thread(content.__exit__, None, None, None)


class _Turn:
    def __init__(self, batch: Claimed, principal: Principal, done: set[int]) -> None:
        self._batch = batch
        self._principal = principal
        self._done = done
        self._ends_at = time.monotonic() + settings.BATCH_TURN_S
        self._left: dict[int, int] = {}
        """Lines that were begun and have no result, with where they begin."""

    def _goes_on(self) -> bool:
        batch = self._batch
        if _ending.is_set():
            return False
        return batch.status == "in_progress" and not batch.expired and time.monotonic() < self._ends_at

    async def run(self, file: IO[bytes]) -> bool:
        batch = self._batch
        number, offset = batch.next_number, batch.next_offset
        lines = read_lines(file, number=number, offset=offset)
        running: set[asyncio.Task[None]] = set()
        exhausted = False
        try:
            while self._goes_on():
                line = await asyncio.to_thread(_next, lines)
                if line is None:
                    exhausted = True
                    break
                if line.number not in self._done:
                    self._left[line.number] = offset
                    running.add(asyncio.create_task(self._line(line)))
                number, offset = line.number + 1, line.next_offset
                if len(running) >= settings.BATCH_LINES_AT_ONCE:
                    running = await _some_done(running)
            while running:
                running = await _some_done(running)
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
        batch.next_number, batch.next_offset = min(self._left.items(), default=(number, offset))
        return exhausted and not self._left

    async def _line(self, line: Line) -> None:
        batch = self._batch
        asked = read_line(line, endpoint=batch.endpoint)
        request_id = derived_id(batch.id, line.number)
        answer, request_id = await self._answer(asked, request_id)
        if answer is None:
            return
        result = results.answered(
            batch.id,
            line.number,
            custom_id=asked.custom_id,
            request_id=request_id,
            status=answer.status,
            body=answer.body,
        )
        await results.keep(batch.tenant_id, batch.id, batch.owner, [result])
        del self._left[line.number]

    async def _answer(self, asked: Asked, request_id: uuid.UUID) -> tuple[Answer | None, uuid.UUID]:
        """The answer, and the id that it was made under; None for a line that is to be asked in another turn."""
        used: ParleyError | None = None
        for number in range(1, TRIES + 1):
            try:
                answer = await answer_line(
                    principal=self._principal,
                    endpoint=self._batch.endpoint,
                    body=bytes(asked.body),
                    request_id=request_id,
                )
            except PutOff as put_off:
                if put_off.used:
                    # What is recorded under an id is recorded once: what follows needs another.
                    used, request_id = put_off.error, uuid7()
                if number == TRIES or not self._goes_on():
                    break
                await asyncio.sleep(min(put_off.wait_s, WAIT_MAX_S))
            except (NotAuthenticated, PermissionDenied):
                # Something about the caller has changed. What they may not do any more the next try says.
                self._principal = await principal_of(self._batch)
            except Exception:
                log.exception("batch_line_failed", batch_id=str(self._batch.id), request_id=str(request_id))
                return self._failed(InternalError(), request_id), request_id
            else:
                return answer, request_id
        return (self._failed(used, request_id) if used else None), request_id

    def _failed(self, error: ParleyError, request_id: uuid.UUID) -> Answer:
        surface = SURFACES["/v1/chat/completions"]
        status, body, _ = surface.error(error, request_id=request_id)
        return Answer(status, body)


def _next(lines: Iterator[Line]) -> Line | None:
    return next(lines, None)


async def _some_done(running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait for one of them. Those that go on. Raises what one raised."""
    done, left = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    running.clear()
    running.update(left)
    for task in done:
        task.result()
    return running
