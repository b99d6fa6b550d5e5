"""Answers that are written while they are read."""

from collections.abc import AsyncIterator, Iterator

from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from rest_framework.request import Request

from kernel.loop import on_loop


def download(
    request: Request, chunks: AsyncIterator[bytes], *, content_type: str, filename: str
) -> StreamingHttpResponse:
    """A file in pieces. Django would gather an asynchronous answer whole for a WSGI server; such a one gets it piece by piece
    from the loop beside it."""
    is_async = isinstance(request._request, ASGIRequest)
    headers = {"Content-Disposition": f'attachment; filename="{filename}"', "Cache-Control": "no-store"}
    return StreamingHttpResponse(chunks if is_async else _in_turn(chunks), content_type=content_type, headers=headers)


def _in_turn(chunks: AsyncIterator[bytes]) -> Iterator[bytes]:
    while (chunk := on_loop(_next(chunks))) is not None:
        yield chunk


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)
