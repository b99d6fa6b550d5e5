"""Say something, and change what was said."""

import uuid
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta

from chat.bounds import ALIAS_CHARS_MAX, EMOJI_CHARS_MAX, MESSAGE_CHARS_MAX, MODELS_PER_MESSAGE_MAX
from chat.files.bounds import ATTACHMENTS_PER_MESSAGE_MAX
from chat.realtime.commands.registry import body_of, command, member_of, room_of
from chat.realtime.frames import Ack, Command
from chat.realtime.hub import Hub
from chat.realtime.socket import Socket
from chat.services.edits import Changed, branch_message, delete_message, edit_message, react
from chat.services.messages import send_message

Alias = Annotated[str, Meta(min_length=1, max_length=ALIAS_CHARS_MAX)]
Models = Annotated[tuple[Alias, ...], Meta(max_length=MODELS_PER_MESSAGE_MAX)]


class SendBody(msgspec.Struct, frozen=True):
    """The body of `message.send`."""

    text: Annotated[str, Meta(max_length=MESSAGE_CHARS_MAX)]
    parent: uuid.UUID | None = None
    model: Alias | None = None
    models: Models = ()
    generate: bool = True
    attachments: Annotated[tuple[uuid.UUID, ...], Meta(max_length=ATTACHMENTS_PER_MESSAGE_MAX)] = ()


@command("message.send", body=SendBody)
async def _send(asked: Command, socket: Socket, hub: Hub) -> Ack:
    body = body_of(asked, SendBody)
    sent = await send_message(
        member=member_of(socket),
        room_id=room_of(asked),
        text=body.text,
        parent=body.parent,
        model=body.model,
        models=body.models,
        generate=body.generate,
        attachments=body.attachments,
        cid=asked.cid,
    )
    return Ack(cid=asked.cid, id=str(sent.message.id), seq=sent.seq)


class EditBody(msgspec.Struct, frozen=True):
    """The body of `message.edit`. With `branch` the text is a message of its own beside the first, answered with `generate`
    by `models`, or as if it had been sent."""

    message: uuid.UUID
    text: Annotated[str, Meta(min_length=1, max_length=MESSAGE_CHARS_MAX)]
    branch: bool = False
    models: Models = ()
    generate: bool = True


class DeleteBody(msgspec.Struct, frozen=True):
    """The body of `message.delete`."""

    message: uuid.UUID


class ReactBody(msgspec.Struct, frozen=True):
    """The body of `message.react`. With `remove` one's own emoji is taken away."""

    message: uuid.UUID
    emoji: Annotated[str, Meta(min_length=1, max_length=EMOJI_CHARS_MAX)]
    remove: bool = False


@command("message.edit", body=EditBody)
async def _edit(asked: Command, socket: Socket, hub: Hub) -> Ack:
    body = body_of(asked, EditBody)
    if not body.branch:
        edited = await edit_message(
            member=member_of(socket), message_id=body.message, text=body.text, room_id=asked.room, cid=asked.cid
        )
        return _ack(asked, edited)
    sent = await branch_message(
        member=member_of(socket),
        message_id=body.message,
        text=body.text,
        models=body.models,
        generate=body.generate,
        room_id=asked.room,
        cid=asked.cid,
    )
    return Ack(cid=asked.cid, id=str(sent.message.id), seq=sent.seq)


@command("message.delete", body=DeleteBody)
async def _delete(asked: Command, socket: Socket, hub: Hub) -> Ack:
    body = body_of(asked, DeleteBody)
    deleted = await delete_message(member=member_of(socket), message_id=body.message, room_id=asked.room, cid=asked.cid)
    return _ack(asked, deleted)


@command("message.react", body=ReactBody)
async def _react(asked: Command, socket: Socket, hub: Hub) -> Ack:
    body = body_of(asked, ReactBody)
    reacted = await react(
        member=member_of(socket),
        message_id=body.message,
        emoji=body.emoji,
        remove=body.remove,
        room_id=asked.room,
        cid=asked.cid,
    )
    return _ack(asked, reacted)


def _ack(asked: Command, changed: Changed) -> Ack:
    return Ack(cid=asked.cid, id=str(changed.message.id), seq=UNSET if changed.seq is None else changed.seq)
