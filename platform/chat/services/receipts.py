"""Receipts: a command that comes again, under the same id of the same member, gets the first one's answer."""

import uuid

import msgspec
from psycopg.types.json import Jsonb

from chat.store import Connection, first, read
from kernel.ids import uuid7


class Receipt(msgspec.Struct, frozen=True):
    """What a command, by its name, was answered."""

    command: str = ""
    id: uuid.UUID | None = None
    seq: int | None = None
    generations: tuple[uuid.UUID, ...] = ()


class AlreadyDone(Exception):
    """The same command was carried out by another request at the same moment; this one must be undone."""


async def find_receipt(tenant_id: uuid.UUID, *, membership_id: uuid.UUID, cid: str) -> Receipt | None:
    """The receipt of a command that was carried out before."""
    rows = await read(
        tenant_id, "SELECT ack FROM chat_commandreceipt WHERE membership_id = %s AND cid = %s", (membership_id, cid)
    )
    return msgspec.convert(rows[0]["ack"], Receipt) if rows else None


async def write_receipt(
    connection: Connection, *, tenant_id: uuid.UUID, membership_id: uuid.UUID, cid: str, receipt: Receipt
) -> None:
    """Keep the answer. Raises `AlreadyDone` when there is one."""
    row = await first(
        connection,
        "INSERT INTO chat_commandreceipt (tenant_id, id, membership_id, cid, ack) VALUES (%s, %s, %s, %s, %s) "
        "ON CONFLICT (tenant_id, membership_id, cid) DO NOTHING RETURNING id",
        (tenant_id, uuid7(), membership_id, cid, Jsonb(msgspec.to_builtins(receipt))),
    )
    if row is None:
        raise AlreadyDone
