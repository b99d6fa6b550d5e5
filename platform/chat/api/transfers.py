"""Exports of rooms, and imports of other products' export files: asked for, looked at, given up."""

import uuid
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.attachments import LinkOutput, link_to
from chat.api.base import RoomsAPIView
from chat.files.links import What
from chat.imports.service import ask_import
from chat.shapes import body
from chat.transfer_models import FORMATS, STATES
from chat.transfers import store
from kernel.api.pagination import Cursor
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import StrictSerializer, page_of
from kernel.api.uploads import PARSERS, uploaded_file
from kernel.api.views import without_transaction
from kernel.loop import on_loop
from tenants.api.base import principal_of

TAKING_S = 900.0


class ExportInput(StrictSerializer):
    """What to write a room as."""

    format = serializers.ChoiceField(
        list(FORMATS), help_text="JSON holds every branch; Markdown and PDF the one that one reads."
    )


class ImportFileInput(serializers.Serializer[Any]):
    """A form with a file."""

    file = serializers.FileField(
        help_text="At most 1 GiB: ChatGPT's conversations.json, the ZIP archive with it, or Open WebUI's JSON of chats."
    )


class TransferErrorOutput(serializers.Serializer[Any]):
    """Why it failed."""

    code = serializers.CharField()
    message = serializers.CharField()


class ProblemOutput(serializers.Serializer[Any]):
    """What could not be taken over of a conversation."""

    conversation = serializers.IntegerField(help_text="Its number in the file, from 1.")
    title = serializers.CharField(allow_blank=True)
    code = serializers.CharField()
    message = serializers.CharField()


class TransferOutput(serializers.Serializer[Any]):
    """How far it is, and what came of it."""

    id = serializers.UUIDField()
    name = serializers.CharField(help_text="of the file")
    state = serializers.ChoiceField(list(STATES[1:]))
    total = serializers.IntegerField(allow_null=True, help_text="Once it is known.")
    done = serializers.IntegerField()
    failed = serializers.IntegerField()
    error = TransferErrorOutput(allow_null=True)
    size = serializers.IntegerField(help_text="bytes of the file")
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(help_text="When it is forgotten, with its file.")


class ExportOutput(TransferOutput):
    """An export of a room. `total` and `done` are messages."""

    room = serializers.UUIDField()
    format = serializers.ChoiceField(list(FORMATS))


class ImportOutput(TransferOutput):
    """An import of a file. `total`, `done` and `failed` are conversations."""

    problems = ProblemOutput(many=True)


_EXPORT = tuple(ExportOutput().fields)
_IMPORT = tuple(ImportOutput().fields)


def shown(transfer: store.TransferShape) -> dict[str, Any]:
    """A transfer as its kind is shown."""
    said = body(transfer)
    return {name: said[name] for name in (_EXPORT if transfer.kind == "export" else _IMPORT)}


class RoomExportsView(RoomsAPIView):
    """Exports of a room."""

    permissions = {"POST": "rooms.export"}

    @extend_schema(
        operation_id="exports_create",
        description="Has a room written to a file, for the caller alone. The file is deleted after a day, or at once when "
        "something in the room is deleted.",
        request=ExportInput,
        responses={202: ExportOutput},
        tags=["exports"],
    )
    async def post(self, request: Request, room_id: uuid.UUID) -> Response:
        given = ExportInput(data=request.data)
        given.is_valid(raise_exception=True)
        made = await store.ask_export(
            member=principal_of(request), room_id=room_id, format_=given.validated_data["format"]
        )
        return Response(shown(made), status=status.HTTP_202_ACCEPTED)


class ExportsView(RoomsAPIView):
    """The caller's exports."""

    permissions = {"GET": "rooms.export"}

    @extend_schema(
        operation_id="exports_list",
        description="Newest first.",
        parameters=PAGE_PARAMETERS,
        responses=page_of(ExportOutput(many=True), "ExportPage"),
        tags=["exports"],
    )
    async def get(self, request: Request) -> Response:
        return await _listed(request, "export")


class ExportView(RoomsAPIView):
    """One export."""

    permissions = {"GET": "rooms.export", "DELETE": "rooms.export"}

    @extend_schema(operation_id="exports_get", responses=ExportOutput, tags=["exports"])
    async def get(self, request: Request, export_id: uuid.UUID) -> Response:
        found = await store.access_transfer(member=principal_of(request), transfer_id=export_id, kind="export")
        return Response(shown(found))

    @extend_schema(operation_id="exports_delete", responses={204: None}, tags=["exports"])
    async def delete(self, request: Request, export_id: uuid.UUID) -> Response:
        await store.delete_transfer(member=principal_of(request), transfer_id=export_id, kind="export")
        return Response(status=status.HTTP_204_NO_CONTENT)


class ExportLinkView(RoomsAPIView):
    """A link to an export's file."""

    permissions = {"GET": "rooms.export"}

    @extend_schema(
        operation_id="exports_link",
        description="A link that holds for five minutes, and only while one is in the room.",
        responses=LinkOutput,
        tags=["exports"],
    )
    async def get(self, request: Request, export_id: uuid.UUID) -> Response:
        member = principal_of(request)
        found = await store.access_transfer(member=member, transfer_id=export_id, kind="export")
        store.require_complete(found)
        return link_to(member, What.EXPORT, export_id)


class ImportsView(RoomsAPIView):
    """The caller's imports."""

    permissions = {"GET": "rooms.import", "POST": "rooms.import"}
    parser_classes = PARSERS

    @extend_schema(
        operation_id="imports_list",
        description="Newest first.",
        parameters=PAGE_PARAMETERS,
        responses=page_of(ImportOutput(many=True), "ImportPage"),
        tags=["imports"],
    )
    async def get(self, request: Request) -> Response:
        return await _listed(request, "import")

    @extend_schema(
        operation_id="imports_create",
        description="Takes ChatGPT's or Open WebUI's export file in: each conversation becomes a private room of the "
        "caller's, with its tree, and authors that are shown as imported.",
        request={"multipart/form-data": ImportFileInput},
        responses={202: ImportOutput},
        tags=["imports"],
    )
    @without_transaction
    def post(self, request: Request) -> Response:
        with uploaded_file(request) as given:
            taking = ask_import(member=principal_of(request), name=given.name, content=given.content, size=given.size)
            return Response(shown(on_loop(taking, timeout_s=TAKING_S)), status=status.HTTP_202_ACCEPTED)


class ImportView(RoomsAPIView):
    """One import."""

    permissions = {"GET": "rooms.import", "DELETE": "rooms.import"}

    @extend_schema(operation_id="imports_get", responses=ImportOutput, tags=["imports"])
    async def get(self, request: Request, import_id: uuid.UUID) -> Response:
        found = await store.access_transfer(member=principal_of(request), transfer_id=import_id, kind="import")
        return Response(shown(found))

    @extend_schema(
        operation_id="imports_delete",
        description="Ends an import where it is, and forgets it. Rooms that it made stay.",
        responses={204: None},
        tags=["imports"],
    )
    async def delete(self, request: Request, import_id: uuid.UUID) -> Response:
        await store.delete_transfer(member=principal_of(request), transfer_id=import_id, kind="import")
        return Response(status=status.HTTP_204_NO_CONTENT)


async def _listed(request: Request, kind: store.Kind) -> Response:
    asked = Cursor.of(request)
    found = await store.list_transfers(
        member=principal_of(request), kind=kind, after=asked.uuid(), limit=asked.limit + 1
    )
    return Response(asked.page(found, render=shown, key=lambda one: str(one.id)).body())
