"""Usage by group commit (`kernel.group_commit`): many attempts, one transaction, durable before their answers end."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from billing.types import UsageEvent
from kernel import adb
from kernel.group_commit import GroupCommit, NotWritten
from kernel.ids import uuid7
from kernel.per_loop import PerLoop

_encode = msgspec.json.Encoder().encode


class UsageNotRecorded(NotWritten):
    """What was used could not be written down, so the answer can't be finished."""


async def record_usage(event: UsageEvent) -> None:
    """Record one attempt; the same one a second time changes nothing. Returns when it is durable. Raises
    `UsageNotRecorded`; who is cancelled leaves the event to be written.
    """
    await _writer().add(event)


async def record_all(events: Sequence[UsageEvent]) -> None:
    """Record several attempts; returns when all are durable. Raises `UsageNotRecorded` if one could not be."""
    writer = _writer()
    # Each is handed in before the first is waited for.
    for written in [writer.add(event) for event in events]:
        await written


def record_soon(event: UsageEvent) -> None:
    """Have an event of no cost recorded without waiting for it: a crash may lose what is under way, at most a second's
    worth.
    """
    _writer().add_and_forget(event)


async def _insert(events: Sequence[UsageEvent]) -> Mapping[int, str]:
    """Write a batch, whatever tenants it is of. The positions that were refused, with the reason."""
    batch: dict[str, list[dict[str, Any]]] = {}
    for position, event in enumerate(events):
        batch.setdefault(str(event.payer.tenant_id), []).append(_row(event, position))
    refused = await adb.statement(
        "SELECT refused_position, problem FROM billing_record_usage(%s::json)", (_encode(batch).decode(),)
    )
    return {row["refused_position"]: row["problem"] for row in refused}


def _row(event: UsageEvent, position: int) -> dict[str, Any]:
    """The columns of `billing_usagerecord`, as values that JSON has, and the event's position in its batch."""
    payer, tokens, charge = event.payer, event.tokens, event.charge
    return {
        "position": position,
        "tenant_id": payer.tenant_id,
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
        "sell_nano": charge.sell_nano,
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


def _new_writer() -> GroupCommit[UsageEvent]:
    return GroupCommit("usage", _insert, failure=UsageNotRecorded)


_writer = PerLoop(_new_writer)
