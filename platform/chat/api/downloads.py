"""What links lead to: bytes, for whoever has a link that holds."""

from collections.abc import AsyncIterator

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from chat.files.links import As, Link, What, read
from chat.services.attachments import open_attachment
from chat.transfers.store import MEDIA_TYPES, open_export
from kernel.api.streams import download
from kernel.api.views import PublicAPIView
from kernel.errors import Conflict, NotAuthenticated, NotFound, PermissionDenied, Unavailable
from kernel.loop import on_loop
from tenants.acting import acting_principal
from tenants.principals import Principal

GUARDED = {
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
"""A browser keeps it to itself, takes it for nothing else, and runs nothing of it."""


class DownloadView(PublicAPIView):
    """A download by its link: the link is the credential."""

    @extend_schema(
        operation_id="downloads_get",
        description="The bytes that a link leads to. 404 once it has expired, or its member may see them no longer.",
        responses={(200, "*/*"): OpenApiTypes.BINARY},
        tags=["attachments"],
    )
    def get(self, request: Request, token: str) -> HttpResponseBase:
        link = read(token)
        if link is None:
            raise NotFound
        name, media_type, pieces = on_loop(_opened(link))
        return download(
            request,
            pieces,
            content_type=media_type,
            filename=name,
            shown=link.shown is not As.DOWNLOAD,
            headers=GUARDED,
        )


async def _opened(link: Link) -> tuple[str, str, AsyncIterator[bytes]]:
    """Name, media type and bytes. Raises `NotFound` for whatever keeps the member from them."""
    try:
        member = await acting_principal(link.subject)
        name, media_type, pieces = await _found(member, link)
        first = await anext(pieces, b"")
    except (NotAuthenticated, PermissionDenied, Conflict) as error:
        raise NotFound from error
    except FileNotFoundError as error:
        raise NotFound from error
    except OSError as error:
        raise Unavailable("The file can't be read now.") from error
    return name, media_type, _with(first, pieces)


async def _found(member: Principal, link: Link) -> tuple[str, str, AsyncIterator[bytes]]:
    if link.what is What.EXPORT:
        member.require("rooms.export")
        export, pieces = await open_export(member=member, transfer_id=link.id)
        return export.name, MEDIA_TYPES[export.format], pieces
    attachment, pieces = await open_attachment(member=member, attachment_id=link.id, shown=link.shown)
    text = "; charset=utf-8" if attachment.media_type.startswith("text/") else ""
    return attachment.name, attachment.media_type + text, pieces


async def _with(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
