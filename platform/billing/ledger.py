"""The ledger on the way of requests: admit, checkpoint and settle by group commit (`kernel.group_commit`).

While one batch is on its way, the next gathers: holds, settlements and checkpoints of whatever tenants go in one round trip
and one transaction (`lookup.ledger_commit`, docs/adr/0012-ledger.md). A settlement is durable before its answer ends."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from psycopg import DataError, IntegrityError

from billing.allowances import ROOM, Allowance, Allowances, Drawn, DrawnFacts
from billing.errors import BudgetExceeded
from billing.holds import NO_AMOUNT, Hold, HoldRequest, ask_row, state_of
from billing.journal import journal
from billing.noted import NotedHold
from billing.types import Payer, UsageEvent
from kernel import adb
from kernel.group_commit import GroupCommit, NotWritten, retrieve
from kernel.ids import uuid7
from kernel.per_loop import PerLoop
from kernel.pg_line import Row

STALE_AFTER_S = 90
"""A hold that no checkpoint refreshed for so long belongs to a process that is gone: it is resolved by what is known."""
LONGEST_S = 900
"""No hold is older, whatever its checkpoints say."""

_COMMIT = b"SELECT * FROM lookup.ledger_commit($1, $2, $3)"
_SHARE = (
    b"SELECT place, NULL, granted_tokens, granted_nano, bounded, refused_by"
    b" FROM lookup.ledger_share($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
)
_STALE_AFTER, _LONGEST = str(STALE_AFTER_S).encode(), str(LONGEST_S).encode()

WAITS_S = (0.02, 0.1, 0.3, 0.5, 0.8)
"""How often, and how long, a request waits that doesn't fit while allowances have what it lacks: together for longer than one
lasts (`billing.allowances.LASTS_S`)."""

_ALL = 2**62
"""More than anything costs."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class UsageNotRecorded(NotWritten):
    """What was used could not be written down, so the answer can't be finished."""


class _Answer(msgspec.Struct):
    """What the ledger says to a hold that was asked for. Without `granted_tokens` it is refused, by `refused_by`; without that,
    too, it is put off: an allowance isn't given, or others are to end first."""

    granted_tokens: int | None
    granted_nano: int
    bounded: bool
    refused_by: Mapping[str, Any] | None


class _Admission:
    """A hold that is asked for, of a request that has already come so far, and the ledger's answer. `room` and `waits` as in
    `billing.holds.ask_row`."""

    __slots__ = ("answer", "asked", "output_tokens", "room", "waits")

    def __init__(
        self, asked: HoldRequest, output_tokens: int = 0, *, room: int | None = None, waits: bool = False
    ) -> None:
        self.asked = asked
        self.output_tokens = output_tokens
        self.room = room
        self.waits = waits
        self.answer: _Answer | None = None

    @property
    def is_put_off(self) -> bool:
        """Whether it was neither granted nor refused."""
        return self.answer is not None and self.answer.granted_tokens is None and self.answer.refused_by is None

    def outcome(self) -> Hold:
        """The hold. Raises `BudgetExceeded`."""
        answer, asked = self.answer, self.asked
        if answer is None:
            raise UsageNotRecorded
        if answer.granted_tokens is None:
            raise BudgetExceeded.by(answer.refused_by or {})
        return Hold(
            tenant_id=asked.payer.tenant_id,
            request_id=asked.request_id,
            cap_tokens=answer.granted_tokens,
            amount_nano=answer.granted_nano,
            tokens=asked.worst.input_tokens + answer.granted_tokens,
            is_bounded=answer.bounded,
            is_sent=asked.is_sent,
        )


class _FreeHold(NotedHold, kw_only=True):
    """A hold that no budget needs: it holds nothing, and covers all. The ledger is told of it if the request takes long."""

    payer: Payer

    def reached(self, output_tokens: int) -> None:
        """The request has come so far: have the journal or the ledger told, if it is sent at all."""
        if not self.is_sent or (self.part is None and self.note()):
            return
        self.is_written = True
        asked = HoldRequest(self.payer, self.request_id, (), NO_AMOUNT, self.facts)
        written = _writer().add(_Admission(asked, output_tokens), patient=True)
        written.add_done_callback(self.done)


class _Settlement(msgspec.Struct):
    """A request's attempts, and the hold that ends with them."""

    tenant_id: uuid.UUID
    request_id: uuid.UUID
    events: Sequence[UsageEvent]
    hold: Hold | None
    drawn: DrawnFacts | None = None
    """Where the ledger hears of the hold only now."""


class _Checkpoint(msgspec.Struct):
    """How far a request has come. The hold of one that is `drawn` is taken out of its allowance."""

    hold: Hold
    output_tokens: int
    drawn: DrawnFacts | None = None

    def row(self) -> dict[str, Any]:
        """As `lookup.ledger_commit` reads it."""
        row: dict[str, Any] = {
            "request_id": self.hold.request_id,
            "state": state_of(is_sent=self.hold.is_sent, output_tokens=self.output_tokens),
            "output": self.output_tokens,
        }
        if self.drawn is not None:
            row |= {
                "allowance": self.drawn.allowance,
                "amount_nano": self.drawn.amount_nano,
                "tokens": self.drawn.tokens,
                "cap_tokens": self.drawn.cap_tokens,
                "facts": self.drawn.facts,
            }
        return row


async def admit(asked: HoldRequest) -> Hold:
    """Hold what a request may cost against every budget that applies; the cap of output shrinks to what fits.

    Raises `BudgetExceeded`, naming the budget, and `UsageNotRecorded` when the ledger can't be written. Where requests come
    often, it is drawn from an allowance, and nobody waits. Asked twice at once for the same request, it grants one hold.
    """
    writer, allowances = _writer(), _allowances()
    if not writer.is_failing and (drawn := allowances.draw(asked)) is not None:
        return drawn
    with allowances.asking(asked.request_id):
        return await _granted(asked, writer, allowances)


async def _granted(asked: HoldRequest, writer: GroupCommit["_Item"], allowances: Allowances) -> Hold:
    """A hold that the ledger grants. Raises `BudgetExceeded` and `UsageNotRecorded`."""
    for wait_s in WAITS_S:
        admission = _Admission(asked, waits=True)
        await writer.add(admission)
        if not admission.is_put_off:
            return admission.outcome()
        allowances.end_all(asked.payer.tenant_id)
        await asyncio.sleep(wait_s)
    admission = _Admission(asked)
    await writer.add(admission)
    return admission.outcome()


async def _take(asked: HoldRequest) -> bool | None:
    """Have an allowance given: whether a hard budget stands behind it; None if it isn't given."""
    admission = _Admission(asked, room=ROOM)
    try:
        await _writer().add(admission)
    except UsageNotRecorded:
        return None
    return None if admission.is_put_off else admission.outcome().is_bounded


def _end(allowance: Allowance) -> None:
    """Tell the ledger of what is drawn from an allowance, and give back the rest."""
    for drawn in list(allowance.drawn.values()):
        _write(drawn, output_tokens=0)
    ended = Hold(allowance.tenant_id, allowance.id, cap_tokens=0, amount_nano=_ALL, tokens=_ALL, is_bounded=False)
    _writer().add_and_forget(_Settlement(allowance.tenant_id, allowance.id, (), ended))


def _write(drawn: Drawn, *, output_tokens: int) -> None:
    """Have the hold of a request taken out of its allowance."""
    drawn.written()
    _writer().add(_Checkpoint(drawn, output_tokens, drawn.told()), patient=True).add_done_callback(drawn.done)


async def hold_drawn(tenant_id: uuid.UUID, request_id: uuid.UUID, drawn: DrawnFacts) -> None:
    """Have the hold of a request that was sent taken out of its allowance, if that is still there. Raises `UsageNotRecorded`."""
    hold = Hold(tenant_id, request_id, drawn.cap_tokens, drawn.amount_nano, drawn.tokens, is_bounded=True)
    await _writer().add(_Checkpoint(hold, 0, drawn))


def admit_free(
    payer: Payer, request_id: uuid.UUID, *, cap_tokens: int, facts: msgspec.Raw, is_sent: bool = True
) -> Hold | None:
    """The hold of a request to which no budget applies. It is granted in full, without asking: once it is sent the journal has
    it, until the ledger is told, by a checkpoint or when it is settled. None where the journal or the ledger can't be written:
    then it is for `admit`.
    """
    if _writer().is_failing or not journal().is_usable:
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
        return _writer().add(_Settlement(hold.tenant_id, hold.request_id, events, hold), patient=patient)
    if not events:
        return None
    if isinstance(hold, Drawn):
        hold.written()
        settlement = _Settlement(hold.tenant_id, hold.request_id, events, hold, hold.told())
    else:
        settlement = _Settlement(events[0].payer.tenant_id, events[0].request_id, events, None)
    written = _writer().add(settlement, patient=patient)
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
        _writer().add_and_forget(_Checkpoint(hold, output_tokens))


_Item = _Admission | _Settlement | _Checkpoint


async def _commit(items: Sequence[_Item]) -> Mapping[int, str]:
    """Write a batch. The positions that were refused, with the reason."""
    batch = batch_of(items)
    if not batch:
        return {}
    rows: Sequence[Row] | None = None
    if len(batch) == 1:
        ((tenant_id, share),) = batch.items()
        with contextlib.suppress(DataError, IntegrityError):  # then its items are taken one by one
            rows = await adb.line().run(_SHARE, share.parameters(tenant_id))
    if rows is None:
        rows = await adb.line().run(_COMMIT, (_encode(batch), _STALE_AFTER, _LONGEST))
    refused: dict[int, str] = {}
    for place, problem, granted_tokens, granted_nano, bounded, refused_by in rows:
        position = int(place or 0)
        if problem is not None:
            refused[position] = problem.decode()
            continue
        item = items[position]
        if isinstance(item, _Admission):
            item.answer = _Answer(
                granted_tokens=None if granted_tokens is None else int(granted_tokens),
                granted_nano=int(granted_nano or 0),
                bounded=bounded == b"t",
                refused_by=None if refused_by is None else _decode(refused_by),
            )
    return refused


class _Share(msgspec.Struct, omit_defaults=True):
    """What a batch has of one tenant, as `lookup.ledger_commit` reads it."""

    checkpoint: list[Mapping[str, Any]] = []
    settle: list[Mapping[str, Any]] = []
    usage: list[Mapping[str, Any]] = []
    held: list[uuid.UUID] = []
    nano: list[int] = []
    tokens: list[int] = []
    over: bool = False
    admit: list[Mapping[str, Any]] = []
    asks: list[uuid.UUID] = []
    scopes: set[str] = set()

    def parameters(self, tenant_id: uuid.UUID) -> Sequence[bytes | None]:
        """It alone, as `lookup.ledger_share` takes it."""
        over = b"t" if self.over else b"f"
        return (
            str(tenant_id).encode(),
            _encode(self.checkpoint) if self.checkpoint else None,
            _encode(self.usage) if self.usage else None,
            _array(map(str, self.held)),
            _array(map(str, self.nano)),
            _array(map(str, self.tokens)),
            over,
            over,
            _encode(self.admit) if self.admit else None,
            _array(map(str, self.asks)),
            _array(self.scopes),
            _STALE_AFTER,
            _LONGEST,
        )


def _array(values: Iterable[str]) -> bytes:
    """An array as PostgreSQL reads it."""
    quoted = ['"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values]
    return f"{{{','.join(quoted)}}}".encode()


def batch_of(items: Sequence[_Item]) -> Mapping[uuid.UUID, _Share]:
    """A batch by tenant and by what is to be done, which is JSON to `lookup.ledger_commit`."""
    batch: dict[uuid.UUID, _Share] = {}
    for position, item in enumerate(items):
        if isinstance(item, _Admission):
            asked = item.asked
            share = batch.get(asked.payer.tenant_id) or batch.setdefault(asked.payer.tenant_id, _Share())
            share.admit.append(ask_row(asked, position, item.output_tokens, room=item.room, waits=item.waits))
            share.asks.append(asked.request_id)
            share.scopes.update(asked.scopes)
        elif isinstance(item, _Settlement):
            _add_settlement(batch.get(item.tenant_id) or batch.setdefault(item.tenant_id, _Share()), item, position)
        else:
            share = batch.get(item.hold.tenant_id) or batch.setdefault(item.hold.tenant_id, _Share())
            share.checkpoint.append(item.row())
    return batch


def _add_settlement(share: _Share, item: _Settlement, position: int) -> None:
    hold, events = item.hold, item.events
    sell_nano = sum([event.charge.sell_nano for event in events])
    used_tokens = sum([event.tokens.total for event in events if not event.unseen])
    held = hold is not None
    if hold is not None and item.drawn is not None:
        share.checkpoint.append(_Checkpoint(hold, 0, item.drawn).row())
    over = hold is not None and (sell_nano > hold.amount_nano or used_tokens > hold.tokens)
    share.settle.append({"position": position, "request_id": item.request_id, "held": held, "over": over})
    share.over = share.over or over
    if held:
        share.held.append(item.request_id)
        share.nano.append(sum([event.charge.sell_nano for event in events if not event.unseen]))
        share.tokens.append(used_tokens)
    for event in events:
        row = _usage_row(event)
        row["position"] = position
        row["held"] = held
        row["over"] = over
        row["all_nano"] = sell_nano
        row["all_tokens"] = used_tokens
        share.usage.append(row)


def _usage_row(event: UsageEvent) -> dict[str, Any]:
    """The columns of `billing_usagerecord`, as values that JSON has."""
    payer, tokens, charge = event.payer, event.tokens, event.charge
    return {
        "principal_kind": payer.principal_kind,
        "membership_id": payer.membership_id,
        "api_key_id": payer.api_key_id,
        "subject_kind": payer.subject_kind,
        "subject_id": payer.subject_id,
        "input": tokens.input,
        "cache_read": tokens.cache_read,
        "cache_write": tokens.cache_write,
        "output": tokens.output,
        "reasoning": tokens.reasoning,
        "id": uuid7(),
        "request_id": event.request_id,
        "attempt": event.attempt,
        "kind": event.kind,
        "at": event.at,
        "status": event.status,
        "alias": event.alias,
        "provider": event.provider,
        "connection": event.connection,
        "model": event.model,
        "platform_paid": event.platform_paid,
        "cost_nano": charge.cost_nano,
        "sell_nano": 0 if event.unseen else charge.sell_nano,
        "loss_nano": charge.sell_nano if event.unseen else 0,
        "charge_lines": charge.lines,
        "estimated": event.estimated,
        "streamed": event.streamed,
        "latency_ms": event.latency_ms,
        "ttft_ms": event.ttft_ms,
        "finish_reason": event.finish_reason,
        "error_code": event.error_code,
        "provider_usage": event.provider_usage,
        "cache": event.cache,
    }


def _new_writer() -> GroupCommit[_Item]:
    return GroupCommit("ledger", _commit, failure=UsageNotRecorded)


_writer = PerLoop(_new_writer)


def _new_allowances() -> Allowances:
    return Allowances(_take, _end)


_allowances = PerLoop(_new_allowances)


async def drained() -> None:
    """Until all that was handed in on this loop is written, also what nobody waits for, and allowances are given back."""
    await _allowances().closed()
    await _writer().idle()


async def settle_all(events: Iterable[UsageEvent]) -> None:
    """Record events of requests that have no hold; returns when all are durable. Raises `UsageNotRecorded`."""
    writer = _writer()
    written = [writer.add(_Settlement(event.payer.tenant_id, event.request_id, (event,), None)) for event in events]
    for each in written:
        await each
