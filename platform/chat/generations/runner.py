"""One generation, from its lease to its end.

Three things happen side by side: the answer is read as fast as it comes; every 25 ms at most what came goes to Redis and,
by it, to everybody who watches; each second or 4 KiB the lease and the checkpoint in PostgreSQL are renewed. What is shown
is in Redis first, and whatever happens the text ends in PostgreSQL.
"""

import asyncio
import contextlib
import uuid

import msgspec
import structlog

from chat.answering import Answer, Ending, Question, answering
from chat.bounds import CHECKPOINT_BYTES, DELTA_INTERVAL_S, END_RETRY_S, END_TRIES, LEASE_RENEW_S, REDIS_RETRY_S
from chat.generations import leases
from chat.generations.context import question_of
from chat.generations.ending import Outcome, end_generation
from chat.generations.leases import Claimed
from chat.generations.offers import offer
from chat.generations.text import GrowingAnswer
from chat.generations.titles import titles
from chat.realtime import texts
from chat.shapes import ContextShape
from kernel.ending import end
from kernel.errors import InternalError, ParleyError, Unavailable
from kernel.redis import RedisError
from tenants.principals import Principal

log = structlog.get_logger(__name__)


class GenerationRun:
    """A generation that this process writes, or will. Made by `Runs.start`."""

    def __init__(self, *, principal: Principal, generation_id: uuid.UUID, owner: uuid.UUID) -> None:
        self.id = generation_id
        self._principal = principal
        self._tenant_id = principal.tenant_id
        self._owner = owner
        self._said = GrowingAnswer()
        self._answer: Answer | None = None
        self._stopping = False
        self._interrupting = False
        self._lost = False
        self._halted = asyncio.Event()
        self._arrived = asyncio.Event()
        self._checkpoint_due = asyncio.Event()
        self._unkept_bytes = 0

    def stop(self) -> None:
        """Somebody asked to stop: the answer ends where it is."""
        self._stopping = True
        self._halted.set()
        if self._answer is not None:
            self._answer.stop()

    def interrupt(self) -> None:
        """The process goes down: the answer ends where it is."""
        self._interrupting = True
        self._halted.set()
        if self._answer is not None:
            self._answer.interrupt()

    async def run(self) -> None:
        """Write it to its end. Raises nothing: what can't be ended here, the reaper ends."""
        try:
            claimed = await leases.claim(self._tenant_id, self.id, owner=self._owner)
            if claimed is None:
                return
            self._stopping = self._stopping or claimed.stop_requested
            keeper = asyncio.create_task(self._keep())
            try:
                outcome = await self._write(claimed)
                if not await self._handed_on(outcome):
                    await self._end(outcome, claimed)
            finally:
                keeper.cancel()
                await asyncio.wait([keeper])
        except ParleyError as error:
            log.warning("generation_left_to_reaper", generation_id=str(self.id), error=repr(error))
        except Exception:
            log.exception("generation_left_to_reaper", generation_id=str(self.id))
        finally:
            # What was cancelled while it waited for the database keeps this object until the collector of garbage comes,
            # which may take minutes (psycopg's pool keeps the error of who waits, and the error its frames); and the answer
            # has the whole conversation.
            self._answer = None

    async def _write(self, claimed: Claimed) -> Outcome:
        """Everything between the lease and the end; failures become the outcome they are."""
        if self._stopping:
            return Outcome(status="stopped", parts=())
        try:
            asked = await self._question(claimed)
            if asked is None:
                return Outcome(status="interrupted" if self._interrupting else "stopped", parts=())
            question, context = asked
            answer = await answering().begin(question)
            # Of a long conversation it holds much, and the answer may take minutes.
            del question, asked
            await leases.remember_attempt(
                self._tenant_id, self.id, owner=self._owner, attempt=answer.attempt, context=context
            )
            self._begun(answer)
            await self._relay(answer, claimed.room_id)
        except ParleyError as error:
            return self._failed(error)
        except Exception:
            log.exception("generation_failed", generation_id=str(self.id))
            return self._failed(InternalError())
        ending = answer.ending or Ending(status="interrupted" if self._interrupting else "complete")
        return self._ended(ending)

    async def _question(self, claimed: Claimed) -> tuple[Question, ContextShape | None] | None:
        """What is asked, and what of the branch that isn't told; None where somebody doesn't want it answered any more. Nobody
        waits, nor pays, for a summary of an answer that they stopped."""
        asked = asyncio.create_task(question_of(self.id, claimed, principal=self._principal))
        halted = asyncio.create_task(self._halted.wait())
        try:
            await asyncio.wait([asked, halted], return_when=asyncio.FIRST_COMPLETED)
            return await asked if asked.done() else None
        finally:
            await end([asked, halted])

    def _begun(self, answer: Answer) -> None:
        """The answer can be reached; what was asked for before counts."""
        self._answer = answer
        if self._stopping:
            answer.stop()
        if self._interrupting:
            answer.interrupt()

    def _failed(self, error: ParleyError) -> Outcome:
        ending = (self._answer.ending if self._answer else None) or Ending(status="failed")
        if self._interrupting:
            return msgspec.structs.replace(self._ended(ending), status="interrupted")
        outcome = msgspec.structs.replace(self._ended(ending), status="failed")
        return msgspec.structs.replace(outcome, error_code=error.code, error_message=error.message)

    def _ended(self, ending: Ending) -> Outcome:
        return Outcome(status=ending.status, parts=self._said.whole(), usage=ending.usage, cost_nano=ending.cost_nano)

    async def _relay(self, answer: Answer, room_id: uuid.UUID) -> None:
        reader = asyncio.create_task(self._read(answer))
        try:
            while not (reader.done() and not self._said.pending):
                await self._arrived.wait()
                self._arrived.clear()
                delay_s = DELTA_INTERVAL_S
                try:
                    await self._show(room_id)
                except RedisError as error:
                    if reader.done():
                        # Nobody can be shown the rest now; the event that ends the answer carries it.
                        break
                    log.warning("delta_not_shown", generation_id=str(self.id), error=repr(error))
                    delay_s = REDIS_RETRY_S
                    self._arrived.set()
                if self._said.pending:
                    # Of one part at a time, and more may have come meanwhile.
                    self._arrived.set()
                if not reader.done():
                    await asyncio.sleep(delay_s)
            await reader
        finally:
            if not reader.done():
                answer.interrupt()
                reader.cancel()
                await asyncio.wait([reader])

    async def _read(self, answer: Answer) -> None:
        try:
            async for piece in answer.pieces():
                self._said.add(piece.kind, piece.text)
                if self._said.pending:
                    self._arrived.set()
                if self._said.full:
                    answer.stop()
                if self._lost:
                    answer.interrupt()
        finally:
            self._said.finish()
            self._arrived.set()

    async def _show(self, room_id: uuid.UUID) -> None:
        """Append what came of one part to Redis, which tells everybody. Raises `RedisError`."""
        pending = self._said.pending
        if pending is None:
            return
        if self._lost:
            pending[2].take(len(pending[2].peek()))
            return
        number, kind, text = pending
        piece = text.peek()
        place = texts.Place(part=number, kind=kind, offset=text.taken_length, before=self._said.taken_length)
        appended = await texts.append_piece(self._tenant_id, room_id, self.id, place=place, piece=piece)
        if not appended.accepted:
            await texts.put_parts(self._tenant_id, room_id, self.id, self._said.taken())
            appended = await texts.append_piece(self._tenant_id, room_id, self.id, place=place, piece=piece)
        if appended.accepted:
            text.take(len(piece))
            self._unkept_bytes += len(piece.encode())
        if self._unkept_bytes >= CHECKPOINT_BYTES:
            self._checkpoint_due.set()

    async def _keep(self) -> None:
        """Renew the lease until cancelled."""
        while not self._lost:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEASE_RENEW_S):
                    await self._checkpoint_due.wait()
            self._checkpoint_due.clear()
            unkept = self._unkept_bytes
            checkpoint = self._said.taken() if unkept else None
            try:
                renewed = await leases.renew(self._tenant_id, self.id, owner=self._owner, checkpoint=checkpoint)
            except Unavailable as error:
                log.warning("lease_not_renewed", generation_id=str(self.id), error=repr(error))
                continue
            if renewed is None:
                self._lost = True
                self.interrupt()
                return
            self._unkept_bytes -= unkept
            if renewed.stop_requested and not self._stopping:
                self.stop()

    async def _handed_on(self, outcome: Outcome) -> bool:
        """Whether another process begins it anew, because this one goes down before a word was said. Raises `Unavailable`."""
        if not self._interrupting or self._lost or outcome.status != "interrupted" or outcome.parts:
            return False
        if not await leases.restart(self._tenant_id, self.id, owner=self._owner):
            return False
        await offer(self._tenant_id, self.id)
        return True

    async def _end(self, outcome: Outcome, claimed: Claimed) -> None:
        for _ in range(END_TRIES):
            if self._lost:
                break
            try:
                ended = await end_generation(self._tenant_id, self.id, outcome, owner=self._owner)
            except Unavailable as error:
                log.warning("generation_not_ended", generation_id=str(self.id), error=repr(error))
                await asyncio.sleep(END_RETRY_S)
                continue
            if ended:
                if outcome.status == "complete":
                    titles().begin(principal=self._principal, claimed=claimed)
                with contextlib.suppress(RedisError):
                    await texts.let_expire(self._tenant_id, claimed.room_id, self.id)
                return
            break
        log.warning("generation_lease_lost", generation_id=str(self.id))
