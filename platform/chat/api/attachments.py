"""Files: to send one before the message that it belongs to, to look at one, to have a link to it."""

import uuid
from datetime import UTC, datetime
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.base import RoomsAPIView
from chat.attachment_models import KINDS
from chat.files.bounds import LINK_S
from chat.files.links import As, What, sign
from chat.services import attachments
from chat.shapes import body
from kernel.api.uploads import PARSERS, uploaded_file
from kernel.api.views import without_transaction
from kernel.errors import InvalidRequest
from kernel.loop import on_loop
from tenants.api.base import principal_of
from tenants.principals import Principal

TAKING_S = 120.0
SHOWN = {"download": As.DOWNLOAD, "image": As.IMAGE, "preview": As.PREVIEW}


class FileInput(serializers.Serializer[Any]):
    """A form with a file."""

    file = serializers.FileField(help_text="At most 25 MiB: an image, PDF, or text in UTF-8.")


class AttachmentOutput(serializers.Serializer[Any]):
    """A file."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(list(KINDS))
    name = serializers.CharField()
    media_type = serializers.CharField()
    size = serializers.IntegerField(help_text="bytes, as it is downloaded")
    width = serializers.IntegerField(allow_null=True, help_text="pixels, of an image")
    height = serializers.IntegerField(allow_null=True, help_text="pixels, of an image")
    pages = serializers.IntegerField(allow_null=True, help_text="of a PDF")
    text_chars = serializers.IntegerField(allow_null=True, help_text="of what models read of it")
    room = serializers.UUIDField(allow_null=True, help_text="Where a message was sent with it.")
    message = serializers.UUIDField(allow_null=True)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True, help_text="Unless a message is sent with it before.")


class LinkOutput(serializers.Serializer[Any]):
    """A link that needs no other credential."""

    url = serializers.CharField(help_text="A path on this server.")
    expires_at = serializers.DateTimeField()


class AttachmentsView(RoomsAPIView):
    """Files to be sent with messages."""

    permissions = {"POST": "rooms.write"}
    parser_classes = PARSERS

    @extend_schema(
        operation_id="attachments_upload",
        description=(
            "Takes a file in, to be named in a message. What it is is seen by what is in it; images are written anew, "
            "without metadata. It is deleted after a day unless a message is sent with it."
        ),
        request={"multipart/form-data": FileInput},
        responses={201: AttachmentOutput},
        tags=["attachments"],
    )
    @without_transaction
    def post(self, request: Request) -> Response:
        with uploaded_file(request) as given:
            taking = attachments.create_attachment(
                member=principal_of(request),
                name=given.name,
                media_type=given.media_type,
                content=given.content,
                size=given.size,
            )
            return Response(body(on_loop(taking, timeout_s=TAKING_S)), status=status.HTTP_201_CREATED)


class AttachmentView(RoomsAPIView):
    """One file."""

    permissions = {"GET": "rooms.read", "DELETE": "rooms.write"}

    @extend_schema(operation_id="attachments_get", responses=AttachmentOutput, tags=["attachments"])
    async def get(self, request: Request, attachment_id: uuid.UUID) -> Response:
        found = await attachments.read_attachment(member=principal_of(request), attachment_id=attachment_id)
        return Response(body(found))

    @extend_schema(
        operation_id="attachments_delete",
        description="Deletes a file of one's own that no message was sent with.",
        responses={204: None},
        tags=["attachments"],
    )
    async def delete(self, request: Request, attachment_id: uuid.UUID) -> Response:
        await attachments.delete_attachment(member=principal_of(request), attachment_id=attachment_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class AttachmentLinkView(RoomsAPIView):
    """A link to a file."""

    permissions = {"GET": "rooms.read"}

    @extend_schema(
        operation_id="attachments_link",
        description=f"A link that holds for {LINK_S // 60} minutes, and only while one may see the file.",
        parameters=[
            OpenApiParameter(
                "as",
                {"type": "string", "enum": list(SHOWN), "default": "download"},
                description="How it is shown: images may be looked at, whole or small.",
            )
        ],
        responses=LinkOutput,
        tags=["attachments"],
    )
    async def get(self, request: Request, attachment_id: uuid.UUID) -> Response:
        member = principal_of(request)
        shown = SHOWN.get(request.query_params.get("as", "download"))
        if shown is None:
            raise InvalidRequest(f"as: one of {', '.join(SHOWN)}.", details={"param": "as"})
        found = await attachments.read_attachment(member=member, attachment_id=attachment_id)
        if shown is not As.DOWNLOAD and found.kind != "image":
            raise InvalidRequest("Only images are shown. Download it.", details={"param": "as"})
        return link_to(member, What.ATTACHMENT, attachment_id, shown)


def link_to(member: Principal, what: What, id_: uuid.UUID, shown: As = As.DOWNLOAD) -> Response:
    """The answer with a link."""
    token, until = sign(member, what=what, id_=id_, shown=shown)
    expires_at = datetime.fromtimestamp(until, tz=UTC)
    return Response(
        {"url": f"/api/v1/downloads/{token}", "expires_at": expires_at}, headers={"Cache-Control": "no-store"}
    )
