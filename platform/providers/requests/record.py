"""What is written of a request beside its usage. Nothing here makes a request wait, or fail."""

import time
import uuid
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from kernel import adb
from kernel.crypto import decrypt, encrypt
from kernel.errors import ParleyError
from kernel.group_commit import GroupCommit
from kernel.per_loop import PerLoop
from providers.guardrails.rules import Rules
from providers.pipeline.values import Result
from providers.types import ChatAnswer, Request
from tenants.principals import Principal

log = structlog.get_logger(__name__)

MAX_CONTENT_BYTES = 1024 * 1024
"""Of a captured request and its answer, before compression; a larger one is kept without."""
REFUSALS_PER_S = 20
"""At most so many refusals are written per tenant, process and second: a flood fills no disk."""
_MAX_TENANTS = 10_000
_now = time.monotonic
_TABLE, _COLUMN = "providers_requestlog", "content"

_INSERT = """
    INSERT INTO providers_requestlog (id, tenant_id, at, surface, alias, principal_kind, membership_id, api_key_id, status,
                                      error_code, latency_ms, content, content_until)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (id) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class _Entry:
    id: uuid.UUID
    tenant_id: uuid.UUID
    at: datetime
    surface: str
    alias: str
    principal_kind: str
    membership_id: uuid.UUID
    api_key_id: uuid.UUID | None
    status: int
    error_code: str | None
    latency_ms: int
    content: bytes | None = None
    content_until: datetime | None = None


def record_refusal(
    *, principal: Principal, request_id: uuid.UUID, surface: str, alias: str, error: ParleyError, latency_s: float
) -> None:
    """Log a request that was refused before any attempt."""
    if not _may_write(principal.tenant_id):
        return
    _writer().add_and_forget(
        _Entry(
            id=request_id,
            tenant_id=principal.tenant_id,
            at=datetime.now(UTC),
            surface=surface,
            alias=alias[:200] if alias.isprintable() else "",
            principal_kind=principal.kind,
            membership_id=principal.membership_id,
            api_key_id=principal.api_key_id,
            status=error.status,
            error_code=error.code,
            latency_ms=round(latency_s * 1000),
        )
    )


async def capture(result: Result, rules: Rules) -> None:
    """Keep what a request and its answer said, encrypted, for as long as the tenant's rules say."""
    job = result.job
    if rules.capture_days is None:
        return
    now = datetime.now(UTC)
    said = msgspec.json.encode(Content(request=job.request, answer=result.answer, stores=job.wishes.store_in_cache))
    content = None
    if len(said) <= MAX_CONTENT_BYTES:
        content = encrypt(
            zlib.compress(said, 1),
            tenant_id=job.payer.tenant_id,
            table=_TABLE,
            row_id=job.request_id,
            column=_COLUMN,
        )
    first = result.attempts[0].started_at if result.attempts else now
    _writer().add_and_forget(
        _Entry(
            id=job.request_id,
            tenant_id=job.payer.tenant_id,
            at=first,
            surface=job.surface,
            alias=job.request.model,
            principal_kind=job.payer.principal_kind,
            membership_id=job.payer.membership_id,
            api_key_id=job.payer.api_key_id,
            status=result.error.status if result.error else 200,
            error_code=result.error.code if result.error else None,
            latency_ms=max(0, round((now - first).total_seconds() * 1000)),
            content=content,
            content_until=now + timedelta(days=rules.capture_days),
        )
    )


class Content(msgspec.Struct, frozen=True):
    """What was captured: the request and the answer, in the words of `providers.types`, and whether a cache may keep them."""

    request: Request
    answer: ChatAnswer
    stores: bool = True


def read_content(sealed: bytes, *, tenant_id: uuid.UUID, request_id: uuid.UUID) -> bytes:
    """The JSON of a captured `Content`. Raises `kernel.crypto.DecryptionFailed`."""
    return zlib.decompress(decrypt(sealed, tenant_id=tenant_id, table=_TABLE, row_id=request_id, column=_COLUMN))


_written: "OrderedDict[uuid.UUID, tuple[int, int]]" = OrderedDict()


def _may_write(tenant_id: uuid.UUID) -> bool:
    second = int(_now())
    began, count = _written.get(tenant_id, (second, 0))
    if began != second:
        began, count = second, 0
    _written[tenant_id] = (began, count + 1)
    _written.move_to_end(tenant_id)
    while len(_written) > _MAX_TENANTS:
        _written.popitem(last=False)
    if count == REFUSALS_PER_S:
        log.warning("refusals_not_logged", tenant_id=str(tenant_id), over_per_s=REFUSALS_PER_S)
    return count < REFUSALS_PER_S


async def _write(entries: Sequence[_Entry]) -> Mapping[int, str]:
    by_tenant: dict[uuid.UUID, list[_Entry]] = {}
    for entry in entries:
        by_tenant.setdefault(entry.tenant_id, []).append(entry)
    for tenant_id, theirs in by_tenant.items():
        async with adb.transaction(tenant_id) as connection, connection.cursor() as cursor:
            await cursor.executemany(_INSERT, [_row(entry) for entry in theirs])
    return {}


def _row(entry: _Entry) -> tuple[object, ...]:
    return tuple(getattr(entry, name) for name in _Entry.__slots__)


def _new_writer() -> GroupCommit[_Entry]:
    return GroupCommit("requests", _write)


_writer = PerLoop(_new_writer)
