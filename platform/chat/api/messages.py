"""Messages and the answers to them."""

import uuid
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.base import RoomsAPIView
from chat.api.inputs import MessageInput
from chat.api.serializers import GenerationOutput, MessagePage, SentOutput
from chat.models import Message
from chat.reading import read_branch, read_messages
from chat.services.messages import Sent, send_message
from chat.services.stops import stop_generation
from chat.shapes import body
from chat.snapshots import generation, own_room
from kernel.api.idempotency import command_id
from kernel.api.pagination import Cursor, Page, paginate
from kernel.api.schema import PAGE_PARAMETERS
from kernel.errors import InvalidRequest
from kernel.ids import parse_uuid
from kernel.loop import on_loop
from tenants.api.base import principal_of

BRANCH_PARAMETER = OpenApiParameter(
    "branch", OpenApiTypes.STR, description="A message's id, or `all`. Without it, the branch that the caller reads."
)


def shown_sent(sent: Sent) -> dict[str, Any]:
    """A message that was sent, and the answers to it."""
    return {
        "message": body(sent.message),
        "generation": body(sent.generation) if sent.generation else None,
        "generations": [body(generation) for generation in sent.generations],
    }


def _id(message: Message) -> uuid.UUID:
    return message.id


def _message_id(branch: str | None) -> uuid.UUID | None:
    if branch is None:
        return None
    known = parse_uuid(branch)
    if known is None:
        raise InvalidRequest("branch: this is no message's id, nor `all`.", details={"param": "branch"})
    return known


class MessagesView(RoomsAPIView):
    """What was said in a room."""

    permissions = {"GET": "rooms.read", "POST": "rooms.write"}

    @extend_schema(
        operation_id="messages_list",
        description="Newest first: those of the branch that the caller reads, of the one through a message, or `all`.",
        parameters=[*PAGE_PARAMETERS, BRANCH_PARAMETER],
        responses=MessagePage,
        tags=["messages"],
    )
    def get(self, request: Request, room_id: uuid.UUID) -> Response:
        member = principal_of(request)
        branch = request.query_params.get("branch")
        if branch == "all":
            on_loop(own_room(member=member, room_id=room_id))
            page = paginate(request, Message.objects.filter(room=room_id).only("id"), render=_id, descending=True)
            shown = on_loop(read_messages(member=member, room_id=room_id, ids=page.data))
            return Response(Page([body(message) for message in shown], page.next_cursor).body())
        asked = Cursor.of(request)
        found = on_loop(
            read_branch(
                member=member,
                room_id=room_id,
                through=_message_id(branch),
                after=asked.uuid(),
                limit=asked.limit + 1,
            )
        )
        stretches = asked.page(found, render=lambda stretch: stretch.messages, key=lambda stretch: str(stretch.id))
        rows = [body(message) for messages in stretches.data for message in messages]
        return Response(Page(rows, stretches.next_cursor).body())

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
        return Response(shown_sent(sent), status=status.HTTP_201_CREATED)


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
