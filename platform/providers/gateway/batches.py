"""`/v1/batches`: to have requests answered when there is time, to look at them, to list them, to cancel them."""

from datetime import datetime

import msgspec

from providers.batches import store
from providers.batches.forms import batch_id, batch_name, file_id, file_name, read_new_batch
from providers.batches.store import StoredBatch
from providers.gateway.files import encode_page, read_after
from providers.gateway.http import Request, Responder
from providers.gateway.query import limit, one, read_query
from tenants.principals import Principal

PAGE = 20
PAGE_MAX = 100


async def create_batch(request: Request, responder: Responder, principal: Principal) -> None:
    """Have the lines of a file answered within a day."""
    asked = read_new_batch(await request.body())
    batch = await store.create_batch(
        principal=principal,
        input_file_id=file_id(asked.input_file_id),
        endpoint=asked.endpoint,
        metadata=asked.metadata,
        results_kept=asked.results_kept,
    )
    await _answer(responder, batch)


async def list_batches(request: Request, responder: Responder, principal: Principal) -> None:
    """The caller's batches, newest first."""
    asked = read_query(request)
    count = limit(asked, default=PAGE, most=PAGE_MAX)
    after = one(asked, "after")
    found = await store.list_batches(
        principal=principal, after=None if after is None else read_after(batch_id(after)), limit=count + 1
    )
    page = [_said(batch) for batch in found[:count]]
    await responder.whole(200, encode_page(page, has_more=len(found) > count))


async def retrieve_batch(request: Request, responder: Responder, principal: Principal) -> None:
    """One batch. Raises `BatchNotThere`."""
    name = request.path.removeprefix("/v1/batches/")
    await _answer(responder, await store.access_batch(principal=principal, batch_id=batch_id(name)))


async def cancel_batch(request: Request, responder: Responder, principal: Principal) -> None:
    """Begin no more lines of a batch. Raises `BatchNotThere` and Conflict."""
    name = request.path.removeprefix("/v1/batches/").removesuffix("/cancel")
    await _answer(responder, await store.cancel_batch(principal=principal, batch_id=batch_id(name)))


async def _answer(responder: Responder, batch: StoredBatch) -> None:
    await responder.whole(200, msgspec.json.encode(_said(batch)))


def _said(batch: StoredBatch) -> dict[str, object]:
    return {
        "id": batch_name(batch.id),
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": file_name(batch.input_file_id),
        "completion_window": "24h",
        "status": batch.status,
        "output_file_id": file_name(batch.output_file_id) if batch.output_file_id else None,
        "error_file_id": file_name(batch.error_file_id) if batch.error_file_id else None,
        "created_at": _seconds(batch.created_at),
        "in_progress_at": _seconds(batch.in_progress_at),
        "expires_at": _seconds(batch.expires_at),
        "finalizing_at": _seconds(batch.finalizing_at),
        "completed_at": _seconds(batch.completed_at),
        "failed_at": _seconds(batch.failed_at),
        "expired_at": _seconds(batch.expired_at),
        "cancelling_at": _seconds(batch.cancelling_at),
        "cancelled_at": _seconds(batch.cancelled_at),
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": batch.metadata,
    }


def _seconds(at: datetime | None) -> int | None:
    return int(at.timestamp()) if at else None
