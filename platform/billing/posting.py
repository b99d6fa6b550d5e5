"""Entries of the ledger that no request makes: payments, credit, fees, corrections. Within a tenant's transaction."""

import uuid
from collections.abc import Sequence

import msgspec
from django.db import connection

from kernel.tenancy import current_tenant_id

_POST = "SELECT lookup.ledger_post(%s, %s::json)"
_encode = msgspec.json.Encoder().encode


class Transfer(msgspec.Struct, frozen=True):
    """`amount_nano` debited to one account and credited to another, for `source_id` (a UUIDv7). `(source_id, kind, line)`
    names it for ever: posted again it is nothing."""

    source_id: uuid.UUID
    kind: str
    debit: str
    credit: str
    amount_nano: int
    line: int = 0
    reverses: uuid.UUID | None = None
    reason: str = ""


def post(*transfers: Transfer) -> int:
    """Write entries into the books of the tenant in force. How many were new. Its books stay locked until the transaction
    ends, as `lock_books` says."""
    with connection.cursor() as cursor:
        cursor.execute(_POST, [current_tenant_id(), _encode(transfers).decode()])
        return int(cursor.fetchone()[0])


def lock_books() -> None:
    """Let nothing else move the tenant's money until this transaction ends: no hold, no settlement, no other change of its
    plan or credit. They wait, so keep it short."""
    post()


def reversed_by(transfers: Sequence[Transfer], *, source_id: uuid.UUID, kind: str, reason: str) -> tuple[Transfer, ...]:
    """The entries that correct `transfers`: as much, the other way round."""
    return tuple(
        Transfer(
            source_id=source_id,
            kind=kind,
            debit=one.credit,
            credit=one.debit,
            amount_nano=one.amount_nano,
            line=line,
            reverses=one.source_id,
            reason=reason,
        )
        for line, one in enumerate(transfers)
    )
