"""An entry's cells: sealed before they are stored, opened after."""

import uuid
from typing import TypeVar

import msgspec
import structlog

from kernel.crypto import DecryptionFailed, decrypt, encrypt
from providers.cache.entries import Kept, unpack
from providers.semantic.values import Features

log = structlog.get_logger(__name__)

ENTRIES, AUDITS = "providers_semanticentry", "providers_semanticaudit"


class Asked(msgspec.Struct, frozen=True):
    """A question as it is stored."""

    text: str
    features: Features


class Seen(msgspec.Struct, frozen=True):
    """What the judge saw of an audited question: its text, and of each candidate the text, the cosine and the cluster;
    `chosen` is the one that it would have served."""

    text: str
    candidates: tuple[tuple[str, float, str], ...]
    chosen: int


Cell = TypeVar("Cell", Asked, Seen)


def seal(value: Asked | Seen, *, tenant_id: uuid.UUID, table: str, row_id: uuid.UUID, column: str) -> bytes:
    """A value, encrypted for its cell."""
    said = msgspec.json.encode(value)
    return encrypt(said, tenant_id=tenant_id, table=table, row_id=row_id, column=column)


def unseal(
    cell: bytes, kind: type[Cell], *, tenant_id: uuid.UUID, table: str, row_id: uuid.UUID, column: str
) -> Cell | None:
    """The value of a cell; None for one that can't be read any more."""
    try:
        said = decrypt(cell, tenant_id=tenant_id, table=table, row_id=row_id, column=column)
        return msgspec.json.decode(said, type=kind)
    except (DecryptionFailed, msgspec.DecodeError):
        log.warning("semantic_cell_unreadable", table=table, row_id=str(row_id))
        return None


def question_of_cell(tenant_id: uuid.UUID, row_id: uuid.UUID, cell: bytes) -> Asked | None:
    """An entry's question."""
    return unseal(cell, Asked, tenant_id=tenant_id, table=ENTRIES, row_id=row_id, column="question")


def seal_body(tenant_id: uuid.UUID, row_id: uuid.UUID, packed: bytes) -> bytes:
    """A packed answer, encrypted for its cell."""
    return encrypt(packed, tenant_id=tenant_id, table=ENTRIES, row_id=row_id, column="body")


def open_body(tenant_id: uuid.UUID, row_id: uuid.UUID, cell: bytes) -> tuple[Kept, int] | None:
    """An entry's answer and its size in bytes; None for one that can't be read any more."""
    try:
        return unpack(decrypt(cell, tenant_id=tenant_id, table=ENTRIES, row_id=row_id, column="body"))
    except DecryptionFailed:
        log.warning("semantic_cell_unreadable", table=ENTRIES, row_id=str(row_id))
        return None
