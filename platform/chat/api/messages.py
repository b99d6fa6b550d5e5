"""Messages and the answers to them."""

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.base import RoomsAPIView
from chat.api.serializers import GenerationOutput, MessageInput, MessageOutput, SentOutput
from chat.models import Message
from chat.services.messages import send_message
from chat.services.stops import stop_generation
from chat.shapes import body
from chat.snapshots import generation, messages_by_id, own_room
from kernel.api.idempotency import command_id
from kernel.api.pagination import Page, paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import page_of
from kernel.loop import on_loop
from tenants.api.base import principal_of


class MessagesView(RoomsAPIView):
    """What was said in a room."""

    permissions = {"GET": "rooms.read", "POST": "rooms.write"}

    @extend_schema(
        operation_id="messages_list",
        description="Newest first.",
        parameters=PAGE_PARAMETERS,
        responses=page_of(MessageOutput(many=True), "MessagePage"),
        tags=["messages"],
    )
    def get(self, request: Request, room_id: uuid.UUID) -> Response:
        member = principal_of(request)
        on_loop(own_room(member=member, room_id=room_id))
        said = Message.objects.filter(room=room_id).only("id")
        page = paginate(request, said, render=lambda message: message.id, descending=True)
        shown = on_loop(messages_by_id(member.tenant_id, page.data))
        return Response(Page([body(message) for message in shown], page.next_cursor).body())

    @extend_schema(
        operation_id="messages_send",
        description="Says something and, unless told not to, lets a model answer. Needs `models.use` for that.",
        request=MessageInput,
        responses={201: SentOutput},
        tags=["messages"],
    )
    async def post(self, request: Request, room_id: uuid.UUID) -> Response:
        given = MessageInput(data=request.data)
        given.is_valid(raise_exception=True)
        member = principal_of(request)
        said = {"cid": command_id(request, member.id), **given.validated_data}
        sent = await send_message(member=member, room_id=room_id, **said)
        shown = {
            "message": body(sent.message),
            "generation": body(sent.generation) if sent.generation else None,
        }
        return Response(shown, status=status.HTTP_201_CREATED)


class GenerationView(RoomsAPIView):
    """One answer."""

    permissions = {"GET": "rooms.read"}

    @extend_schema(operation_id="generations_get", responses=GenerationOutput, tags=["messages"])
    async def get(self, request: Request, generation_id: uuid.UUID) -> Response:
        return Response(body(await generation(member=principal_of(request), generation_id=generation_id)))


class StopView(RoomsAPIView):
    """An answer that should end."""

    permissions = {"POST": "rooms.write"}

    @extend_schema(
        operation_id="generations_stop",
        description="Asks for an answer to end where it is. Nothing happens to one that has ended.",
        request=None,
        responses={202: GenerationOutput},
        tags=["messages"],
    )
    async def post(self, request: Request, generation_id: uuid.UUID) -> Response:
        stopped = await stop_generation(member=principal_of(request), generation_id=generation_id)
        return Response(body(stopped), status=status.HTTP_202_ACCEPTED)
