"""What is written of requests: admissions, settlements and checkpoints, as items of batches (`kernel.group_commit`).

A batch is of whatever tenants, and is one statement: one round trip and one transaction (`lookup.ledger_commit`,
docs/adr/0012-ledger.md)."""

import contextlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from psycopg import DataError, IntegrityError

from billing.allowances import DrawnFacts
from billing.errors import BudgetExceeded
from billing.holds import Hold, HoldRequest, ask_row, state_of
from billing.types import UsageEvent
from kernel import adb
from kernel.group_commit import GroupCommit, NotWritten
from kernel.ids import uuid7
from kernel.per_loop import PerLoop
from kernel.pg_line import Row

WRITERS = 2
"""Of an event loop, each with a connection of its own, and so a process of PostgreSQL: what one of them writes takes a CPU of
its machine, and the next batch waits for it. A tenant's requests are all for the same one: theirs wait for each other anyhow."""

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

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class UsageNotRecorded(NotWritten):
    """What was used could not be written down, so the answer can't be finished."""


class Answer(msgspec.Struct):
    """What the ledger says to a hold that was asked for. Without `granted_tokens` it is refused, by `refused_by`; without that,
    too, it is put off: an allowance isn't given, or others are to end first."""

    granted_tokens: int | None
    granted_nano: int
    bounded: bool
    refused_by: Mapping[str, Any] | None


class Admission:
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
        self.answer: Answer | None = None

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


class Settlement(msgspec.Struct):
    """A request's attempts, and the hold that ends with them."""

    tenant_id: uuid.UUID
    request_id: uuid.UUID
    events: Sequence[UsageEvent]
    hold: Hold | None
    drawn: DrawnFacts | None = None
    """Where the ledger hears of the hold only now."""


class Checkpoint(msgspec.Struct):
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


Item = Admission | Settlement | Checkpoint


async def commit(line: str, items: Sequence[Item]) -> Mapping[int, str]:
    """Write a batch. The positions that were refused, with the reason."""
    batch = batch_of(items)
    if not batch:
        return {}
    rows: Sequence[Row] | None = None
    if len(batch) == 1:
        ((tenant_id, share),) = batch.items()
        with contextlib.suppress(DataError, IntegrityError):  # then its items are taken one by one
            rows = await adb.line(line).run(_SHARE, share.parameters(tenant_id))
    if rows is None:
        rows = await adb.line(line).run(_COMMIT, (_encode(batch), _STALE_AFTER, _LONGEST))
    refused: dict[int, str] = {}
    for place, problem, granted_tokens, granted_nano, bounded, refused_by in rows:
        position = int(place or 0)
        if problem is not None:
            refused[position] = problem.decode()
            continue
        item = items[position]
        if isinstance(item, Admission):
            item.answer = Answer(
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


def batch_of(items: Sequence[Item]) -> Mapping[uuid.UUID, _Share]:
    """A batch by tenant and by what is to be done, which is JSON to `lookup.ledger_commit`."""
    batch: dict[uuid.UUID, _Share] = {}
    for position, item in enumerate(items):
        if isinstance(item, Admission):
            asked = item.asked
            share = batch.get(asked.payer.tenant_id) or batch.setdefault(asked.payer.tenant_id, _Share())
            share.admit.append(ask_row(asked, position, item.output_tokens, room=item.room, waits=item.waits))
            share.asks.append(asked.request_id)
            share.scopes.update(asked.scopes)
        elif isinstance(item, Settlement):
            _add_settlement(batch.get(item.tenant_id) or batch.setdefault(item.tenant_id, _Share()), item, position)
        else:
            share = batch.get(item.hold.tenant_id) or batch.setdefault(item.hold.tenant_id, _Share())
            share.checkpoint.append(item.row())
    return batch


def _add_settlement(share: _Share, item: Settlement, position: int) -> None:
    hold, events = item.hold, item.events
    sell_nano = sum([event.charge.sell_nano for event in events])
    used_tokens = sum([event.tokens.total for event in events if not event.unseen])
    held = hold is not None
    if hold is not None and item.drawn is not None:
        share.checkpoint.append(Checkpoint(hold, 0, item.drawn).row())
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


class Writers:
    """An event loop's."""

    def __init__(self) -> None:
        lines = [f"ledger {number}" for number in range(WRITERS)]
        self._all = [GroupCommit("ledger", partial(commit, line), failure=UsageNotRecorded) for line in lines]

    def of(self, tenant_id: uuid.UUID) -> GroupCommit[Item]:
        """That of a tenant."""
        return self._all[tenant_id.int % WRITERS]

    async def idle(self) -> None:
        """Until nothing waits to be written."""
        for writer in self._all:
            await writer.idle()


writers = PerLoop(Writers)


def writer(tenant_id: uuid.UUID) -> GroupCommit[Item]:
    """Who writes what is of this tenant, on the running loop."""
    return writers().of(tenant_id)
