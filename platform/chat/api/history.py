"""History as a tree: one message, those beside it, answers begun at it, and the branch that one reads."""

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.base import RoomsAPIView
from chat.api.inputs import BranchInput, ChosenBranchInput, EditInput, ReactionInput, RegenerateInput, StartInput
from chat.api.messages import shown_sent
from chat.api.serializers import BranchOutput, MessageOutput, MessagePage, SentOutput, StartedOutput, SummaryOutput
from chat.reading import read_message, read_siblings, read_summaries
from chat.services.answers import Started, regenerate, start_generations
from chat.services.branches import read_on_at
from chat.services.edits import branch_message, delete_message, edit_message, react
from chat.shapes import body
from kernel.api.idempotency import command_id
from kernel.api.pagination import Cursor
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import page_of
from kernel.loop import on_loop
from tenants.api.base import principal_of


class MessageView(RoomsAPIView):
    """One message."""

    permissions = {"GET": "rooms.read", "PATCH": "rooms.write", "DELETE": "rooms.write"}

    @extend_schema(operation_id="messages_get", responses=MessageOutput, tags=["messages"])
    async def get(self, request: Request, message_id: uuid.UUID) -> Response:
        return Response(body(await read_message(member=principal_of(request), message_id=message_id)))

    @extend_schema(
        operation_id="messages_edit",
        description="Gives a message of one's own another text. The answers to it stay.",
        request=EditInput,
        responses=MessageOutput,
        tags=["messages"],
    )
    async def patch(self, request: Request, message_id: uuid.UUID) -> Response:
        given = EditInput(data=request.data)
        given.is_valid(raise_exception=True)
        edited = await edit_message(
            member=principal_of(request), message_id=message_id, text=given.validated_data["text"]
        )
        return Response(body(edited.message))

    @extend_schema(
        operation_id="messages_delete",
        description="Takes a message's text away for ever; its place stays. One's own, or any as an owner of the room.",
        responses={204: None},
        tags=["messages"],
    )
    async def delete(self, request: Request, message_id: uuid.UUID) -> Response:
        await delete_message(member=principal_of(request), message_id=message_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class BranchesView(RoomsAPIView):
    """The texts in place of a message."""

    permissions = {"POST": "rooms.write"}

    @extend_schema(
        operation_id="messages_branch",
        description="Writes another text beside a message of one's own, and lets models answer it as when it is sent.",
        request=BranchInput,
        responses={201: SentOutput},
        tags=["messages"],
    )
    async def post(self, request: Request, message_id: uuid.UUID) -> Response:
        given = BranchInput(data=request.data)
        given.is_valid(raise_exception=True)
        member = principal_of(request)
        cid = command_id(request, member.id)
        sent = await branch_message(member=member, message_id=message_id, cid=cid, **given.validated_data)
        return Response(shown_sent(sent), status=status.HTTP_201_CREATED)


class ReactionsView(RoomsAPIView):
    """The emoji under a message."""

    permissions = {"POST": "rooms.write"}

    @extend_schema(
        operation_id="messages_react",
        description="Puts an emoji under a message, or takes one's own away.",
        request=ReactionInput,
        responses=MessageOutput,
        tags=["messages"],
    )
    async def post(self, request: Request, message_id: uuid.UUID) -> Response:
        given = ReactionInput(data=request.data)
        given.is_valid(raise_exception=True)
        member = principal_of(request)
        cid = command_id(request, member.id)
        reacted = await react(member=member, message_id=message_id, cid=cid, **given.validated_data)
        return Response(body(reacted.message))


class SiblingsView(RoomsAPIView):
    """A message and those that follow the same one."""

    permissions = {"GET": "rooms.read"}

    @extend_schema(
        operation_id="messages_siblings",
        description="Oldest first. Each begins a branch.",
        parameters=PAGE_PARAMETERS,
        responses=MessagePage,
        tags=["messages"],
    )
    def get(self, request: Request, message_id: uuid.UUID) -> Response:
        asked = Cursor.of(request)
        found = on_loop(
            read_siblings(
                member=principal_of(request), message_id=message_id, after=asked.uuid(), limit=asked.limit + 1
            )
        )
        return Response(asked.page(found, render=body, key=lambda message: str(message.id)).body())


class GenerationsView(RoomsAPIView):
    """The answers to a message."""

    permissions = {"POST": "rooms.write"}

    @extend_schema(
        operation_id="generations_start",
        description="Lets models answer a message. Needs `models.use`. The caller then reads the branch of the message.",
        request=StartInput,
        responses={201: StartedOutput},
        tags=["messages"],
    )
    async def post(self, request: Request, message_id: uuid.UUID) -> Response:
        given = StartInput(data=request.data)
        given.is_valid(raise_exception=True)
        member, wanted = principal_of(request), given.validated_data
        started = await start_generations(
            member=member,
            message_id=message_id,
            models=(*([wanted["model"]] if "model" in wanted else []), *wanted.get("models", ())),
            cid=command_id(request, member.id),
        )
        return Response(_shown(started), status=status.HTTP_201_CREATED)


class RegenerateView(RoomsAPIView):
    """An answer once more."""

    permissions = {"POST": "rooms.write"}

    @extend_schema(
        operation_id="generations_regenerate",
        description="Lets the same model, or another, answer once more. Needs `models.use`. The first answer stays, beside it.",
        request=RegenerateInput,
        responses={201: StartedOutput},
        tags=["messages"],
    )
    async def post(self, request: Request, generation_id: uuid.UUID) -> Response:
        given = RegenerateInput(data=request.data)
        given.is_valid(raise_exception=True)
        member = principal_of(request)
        started = await regenerate(
            member=member,
            generation_id=generation_id,
            model=given.validated_data.get("model"),
            cid=command_id(request, member.id),
        )
        return Response(_shown(started), status=status.HTTP_201_CREATED)


class SummariesView(RoomsAPIView):
    """What models are told in place of old turns."""

    permissions = {"GET": "rooms.read"}

    @extend_schema(
        operation_id="rooms_summaries",
        description="Newest first, of all branches. One is gone when a message that it stands for is edited or deleted.",
        parameters=PAGE_PARAMETERS,
        responses=page_of(SummaryOutput(many=True), "SummaryPage"),
        tags=["rooms"],
    )
    def get(self, request: Request, room_id: uuid.UUID) -> Response:
        asked = Cursor.of(request)
        found = on_loop(
            read_summaries(member=principal_of(request), room_id=room_id, before=asked.uuid(), limit=asked.limit + 1)
        )
        return Response(asked.page(found, render=body, key=lambda summary: str(summary.id)).body())


class BranchView(RoomsAPIView):
    """The branch that the caller reads in a room."""

    permissions = {"PUT": "rooms.read"}

    @extend_schema(
        operation_id="rooms_choose_branch",
        description="Chooses the branch that the caller reads. Others go on reading theirs.",
        request=ChosenBranchInput,
        responses=BranchOutput,
        tags=["rooms"],
    )
    async def put(self, request: Request, room_id: uuid.UUID) -> Response:
        given = ChosenBranchInput(data=request.data)
        given.is_valid(raise_exception=True)
        chosen = await read_on_at(
            member=principal_of(request), room_id=room_id, message_id=given.validated_data["message"]
        )
        return Response(body(chosen))


def _shown(started: Started) -> dict[str, object]:
    return {"generations": [body(generation) for generation in started.generations]}
