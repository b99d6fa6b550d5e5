"""Answers that are written while they are read."""

from collections.abc import AsyncIterator, Iterator, Mapping

from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header
from rest_framework.request import Request

from kernel.loop import on_loop


def download(
    request: Request,
    chunks: AsyncIterator[bytes],
    *,
    content_type: str,
    filename: str,
    shown: bool = False,
    headers: Mapping[str, str] | None = None,
) -> StreamingHttpResponse:
    """A file in pieces, to be kept or, if it may be `shown`, looked at. Django would gather an asynchronous answer whole for a
    WSGI server; such a one gets it piece by piece from the loop beside it."""
    is_async = isinstance(request._request, ASGIRequest)
    disposition = content_disposition_header(not shown, filename) or "attachment"
    given = {"Content-Disposition": disposition, "Cache-Control": "no-store", **(headers or {})}
    return StreamingHttpResponse(chunks if is_async else _in_turn(chunks), content_type=content_type, headers=given)


def _in_turn(chunks: AsyncIterator[bytes]) -> Iterator[bytes]:
    while (chunk := on_loop(_next(chunks))) is not None:
        yield chunk


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)
