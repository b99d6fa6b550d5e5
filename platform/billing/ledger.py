"""The ledger on the way of requests: admit, checkpoint and settle by group commit (`kernel.group_commit`).

While one batch is on its way, the next gathers (`billing.commits`). A settlement is durable before its answer ends."""

import asyncio
import uuid
from collections.abc import Iterable, Sequence

import msgspec

from billing.allowances import ROOM, Allowance, Allowances, Drawn, DrawnFacts
from billing.commits import Admission, Checkpoint, Item, Settlement, UsageNotRecorded, writer, writers
from billing.holds import NO_AMOUNT, Hold, HoldRequest
from billing.journal import journal
from billing.noted import NotedHold
from billing.types import Payer, UsageEvent
from kernel.group_commit import GroupCommit, retrieve
from kernel.per_loop import PerLoop

WAITS_S = (0.02, 0.1, 0.3, 0.5, 0.8)
"""How often, and how long, a request waits that doesn't fit while allowances have what it lacks: together for longer than one
lasts (`billing.allowances.LASTS_S`)."""

_ALL = 2**62
"""More than anything costs."""


class _FreeHold(NotedHold, kw_only=True):
    """A hold that no budget needs: it holds nothing, and covers all. The ledger is told of it if the request takes long."""

    payer: Payer

    def reached(self, output_tokens: int) -> None:
        """The request has come so far: have the journal or the ledger told, if it is sent at all."""
        if not self.is_sent or (self.part is None and self.note()):
            return
        self.is_written = True
        asked = HoldRequest(self.payer, self.request_id, (), NO_AMOUNT, self.facts)
        written = writer(self.payer.tenant_id).add(Admission(asked, output_tokens), patient=True)
        written.add_done_callback(self.done)


async def admit(asked: HoldRequest) -> Hold:
    """Hold what a request may cost against every budget that applies; the cap of output shrinks to what fits.

    Raises `BudgetExceeded`, naming the budget, and `UsageNotRecorded` when the ledger can't be written. Where requests come
    often, it is drawn from an allowance, and nobody waits. Asked twice at once for the same request, it grants one hold.
    """
    ours, allowances = writer(asked.payer.tenant_id), _allowances()
    if not ours.is_failing and (drawn := allowances.draw(asked)) is not None:
        return drawn
    with allowances.asking(asked.request_id):
        return await _granted(asked, ours, allowances)


async def _granted(asked: HoldRequest, ours: GroupCommit[Item], allowances: Allowances) -> Hold:
    """A hold that the ledger grants. Raises `BudgetExceeded` and `UsageNotRecorded`."""
    for wait_s in WAITS_S:
        admission = Admission(asked, waits=True)
        await ours.add(admission)
        if not admission.is_put_off:
            return admission.outcome()
        allowances.end_all(asked.payer.tenant_id)
        await asyncio.sleep(wait_s)
    admission = Admission(asked)
    await ours.add(admission)
    return admission.outcome()


async def _take(asked: HoldRequest) -> bool | None:
    """Have an allowance given: whether a hard budget stands behind it; None if it isn't given."""
    admission = Admission(asked, room=ROOM)
    try:
        await writer(asked.payer.tenant_id).add(admission)
    except UsageNotRecorded:
        return None
    return None if admission.is_put_off else admission.outcome().is_bounded


def _end(allowance: Allowance) -> None:
    """Tell the ledger of what is drawn from an allowance, and give back the rest."""
    for drawn in list(allowance.drawn.values()):
        _write(drawn, output_tokens=0)
    ended = Hold(allowance.tenant_id, allowance.id, cap_tokens=0, amount_nano=_ALL, tokens=_ALL, is_bounded=False)
    writer(allowance.tenant_id).add_and_forget(Settlement(allowance.tenant_id, allowance.id, (), ended))


def _write(drawn: Drawn, *, output_tokens: int) -> None:
    """Have the hold of a request taken out of its allowance."""
    drawn.written()
    writer(drawn.tenant_id).add(Checkpoint(drawn, output_tokens, drawn.told()), patient=True).add_done_callback(
        drawn.done
    )


async def hold_drawn(tenant_id: uuid.UUID, request_id: uuid.UUID, drawn: DrawnFacts) -> None:
    """Have the hold of a request that was sent taken out of its allowance, if that is still there. Raises `UsageNotRecorded`."""
    hold = Hold(tenant_id, request_id, drawn.cap_tokens, drawn.amount_nano, drawn.tokens, is_bounded=True)
    await writer(hold.tenant_id).add(Checkpoint(hold, 0, drawn))


def admit_free(
    payer: Payer, request_id: uuid.UUID, *, cap_tokens: int, facts: msgspec.Raw, is_sent: bool = True
) -> Hold | None:
    """The hold of a request to which no budget applies. It is granted in full, without asking: once it is sent the journal has
    it, until the ledger is told, by a checkpoint or when it is settled. None where the journal or the ledger can't be written:
    then it is for `admit`.
    """
    if writer(payer.tenant_id).is_failing or not journal().is_usable:
        return None
    hold = _FreeHold(
        tenant_id=payer.tenant_id,
        request_id=request_id,
        cap_tokens=cap_tokens,
        amount_nano=_ALL,
        tokens=_ALL,
        is_bounded=False,
        is_sent=is_sent,
        payer=payer,
        facts=facts,
    )
    return hold if not is_sent or hold.note() else None


async def settle(hold: Hold | None, events: Sequence[UsageEvent], *, patient: bool = False) -> None:
    """End a hold with what was used; without events it is given back whole. Returns when it is durable; where others settle
    all the time, `patient` callers wait up to `kernel.group_commit.PATIENCE_S` for some of them.

    The same attempt a second time changes nothing. A request without a hold (`None`) is charged as its events say.
    Raises `UsageNotRecorded`; who is cancelled leaves it to be written.
    """
    written = _settled(hold, events, patient=patient)
    if written is not None:
        await written


def settle_soon(hold: Hold | None, events: Sequence[UsageEvent]) -> None:
    """As `settle`, without waiting for it: a crash may lose what is under way, at most a second's worth."""
    written = _settled(hold, events, patient=True)
    if written is not None:
        written.add_done_callback(retrieve)


def _settled(hold: Hold | None, events: Sequence[UsageEvent], *, patient: bool) -> "asyncio.Future[None] | None":
    """Have a settlement written; None if there is nothing to write."""
    is_news = isinstance(hold, NotedHold) and not hold.is_written
    if isinstance(hold, NotedHold) and not events:
        hold.take_back()
    if hold is not None and not is_news:
        return writer(hold.tenant_id).add(Settlement(hold.tenant_id, hold.request_id, events, hold), patient=patient)
    if not events:
        return None
    if isinstance(hold, Drawn):
        hold.written()
        settlement = Settlement(hold.tenant_id, hold.request_id, events, hold, hold.told())
    else:
        settlement = Settlement(events[0].payer.tenant_id, events[0].request_id, events, None)
    written = writer(settlement.tenant_id).add(settlement, patient=patient)
    if isinstance(hold, NotedHold):
        written.add_done_callback(hold.done)
    return written


def checkpoint(hold: Hold, *, output_tokens: int) -> None:
    """Note how far a request has come: its hold lives on for `STALE_AFTER_S`, and is billed by this if its process dies.

    Nobody waits for it. `output_tokens` 0 says that the provider is asked and has not begun to answer.
    """
    if isinstance(hold, _FreeHold) and not hold.is_written:
        hold.reached(output_tokens)
    elif isinstance(hold, Drawn) and not hold.is_written:
        if output_tokens or not hold.is_sent or hold.part is not None or not hold.note():
            _write(hold, output_tokens=output_tokens)
    else:
        writer(hold.tenant_id).add_and_forget(Checkpoint(hold, output_tokens))


def _new_allowances() -> Allowances:
    return Allowances(_take, _end)


_allowances = PerLoop(_new_allowances)


async def drained() -> None:
    """Until all that was handed in on this loop is written, also what nobody waits for, and allowances are given back."""
    await _allowances().closed()
    await writers().idle()


async def settle_all(events: Iterable[UsageEvent]) -> None:
    """Record events of requests that have no hold; returns when all are durable. Raises `UsageNotRecorded`."""
    written = [
        writer(event.payer.tenant_id).add(Settlement(event.payer.tenant_id, event.request_id, (event,), None))
        for event in events
    ]
    for each in written:
        await each
