"""Say something in a room, and let models answer."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from chat import selectors, tree
from chat.access import RoomAccess, room_access
from chat.bounds import MESSAGE_CHARS_MAX
from chat.checks import check_text
from chat.events import RoomEvent, take_numbers_to_speak
from chat.generations.runs import runs
from chat.message_parts import FilePart
from chat.realtime import streams
from chat.services.answerers import Addressed, addressed
from chat.services.notes import note_mentions, tell_notes
from chat.services.once import once
from chat.services.receipts import Receipt, write_receipt
from chat.services.writing import Draft, begun, choose_branch, insert_generations, insert_message, said, write_events
from chat.shapes import GenerationShape, MessageShape
from chat.store import Connection, transaction
from kernel.errors import Conflict, InvalidRequest
from tenants.principals import Principal

SEND = "message.send"


class Sent(msgspec.Struct, frozen=True):
    """A message that is in the room, and the answers to it that were begun."""

    message: MessageShape
    generations: tuple[GenerationShape, ...]
    seq: int

    @property
    def generation(self) -> GenerationShape | None:
        """The first of the answers, if any."""
        return self.generations[0] if self.generations else None


class Place(msgspec.Struct, frozen=True):
    """Where a message goes: after `parent`, None for the beginning of the room. `moves` the writer to the new branch. `files`
    are those of the writer's own message that it is beside."""

    parent: uuid.UUID | None
    moves: bool
    files: tuple[FilePart, ...] = ()


async def send_message(
    *,
    member: Principal,
    room_id: uuid.UUID,
    text: str,
    parent: uuid.UUID | None = None,
    model: str | None = None,
    models: Sequence[str] = (),
    generate: bool = True,
    attachments: Sequence[uuid.UUID] = (),
    cid: str | None = None,
) -> Sent:
    """Write a message after `parent`, else at the end of the branch that the member reads; and, with `generate`, queue the
    answers of `models`, of `model`, or of whom the message addresses (`chat.services.answerers`).

    `attachments` are files of the member's own that no message has yet; with some, the text may be empty.

    The same `cid` again writes nothing and answers what the first did. Raises `NotFound`, `PermissionDenied`,
    `InvalidRequest`, `Conflict` when a `cid` was another command's, and `Unavailable` in a process that is going down.
    """
    check_text(text, field="text", chars_max=MESSAGE_CHARS_MAX, blank=bool(attachments))
    room = await room_access(member=member, room_id=room_id, write=True)

    async def do() -> Sent:
        to = await addressed(member=member, room=room, text=text, model=model, models=models, generate=generate)
        return await write_message(
            member=member,
            room=room,
            text=text,
            to=to,
            after=parent,
            attachments=attachments,
            receipt_of=(SEND, cid) if cid else None,
        )

    async def again(connection: Connection, receipt: Receipt) -> Sent:
        return await sent_before(connection, receipt, room_id)

    return await once(member=member, command=SEND, cid=cid, do=do, again=again, looks_first=False)


async def write_message(
    *,
    member: Principal,
    room: RoomAccess,
    text: str,
    to: Addressed,
    receipt_of: tuple[str, str] | None,
    after: uuid.UUID | None = None,
    beside: uuid.UUID | None = None,
    attachments: Sequence[uuid.UUID] = (),
) -> Sent:
    """Write a member's message `after` another, `beside` another, or at the end of their branch, and begin the answers. It
    has `attachments`, and the files of one of the member's own that it is beside.

    Raises `InvalidRequest` for another that isn't in the room, and `AlreadyDone` where the receipt was written before.
    """
    now = datetime.now(UTC)
    count = 1 + len(to.aliases)
    async with transaction(member.tenant_id) as connection:
        numbers, branch = await take_numbers_to_speak(
            connection, room_id=room.room_id, room_member_id=room.room_member_id, count=count, now=now
        )
        message_id, *generation_ids = numbers.ids
        place = await _place(connection, room, branch, after=after, beside=beside)
        draft = Draft(
            id=message_id,
            text=text,
            now=now,
            parent=place.parent,
            aliases=to.aliases,
            mentions=to.mentions,
            files=place.files,
            attachments=tuple(attachments),
        )
        # Nothing in these asks for what another answers: they go out together.
        async with connection.pipeline():
            message = await insert_message(connection, room, draft)
            if place.moves:
                await choose_branch(connection, room, message.id)
            noted = await note_mentions(connection, room, message_id=message.id, members=message.mentions)
            generations = await insert_generations(
                connection,
                room,
                ids=generation_ids,
                prompt_id=message.id,
                aliases=to.aliases,
                now=now,
                key_id=member.api_key_id,
            )
            news = [said(message), *(begun(generation) for generation in generations)]
            events = await write_events(connection, room, numbers=numbers, now=now, news=news)
            if receipt_of is not None:
                command, cid = receipt_of
                receipt = Receipt(
                    command=command,
                    id=message.id,
                    seq=numbers.first_seq,
                    generations=tuple(generation.id for generation in generations),
                )
                await write_receipt(
                    connection, tenant_id=room.tenant_id, membership_id=room.membership_id, cid=cid, receipt=receipt
                )
    await tell_and_begin(member, room.room_id, numbers.epoch, events, generations)
    if noted is not None:
        await tell_notes(noted)
    return Sent(message=message, generations=generations, seq=numbers.first_seq)


async def tell_and_begin(
    member: Principal,
    room_id: uuid.UUID,
    epoch: int,
    events: Sequence[RoomEvent],
    generations: Sequence[GenerationShape],
) -> None:
    """Tell the room of what was committed, and begin the answers that were queued in it."""
    await streams.publish(member.tenant_id, room_id, epoch=epoch, events=events)
    for generation in generations:
        await runs().start(principal=member, generation_id=generation.id)


async def sent_before(connection: Connection, receipt: Receipt, room_id: uuid.UUID) -> Sent:
    """What was sent under a receipt, as it is now. Raises `Conflict` when that was in another room."""
    messages = await selectors.messages(connection, [receipt.id] if receipt.id else [])
    message = messages.get(receipt.id) if receipt.id else None
    if message is None or message.room != room_id:
        raise Conflict("This cid was another command's.")
    generations = await selectors.generations(connection, receipt.generations)
    return Sent(
        message=message,
        generations=tuple(generations[id_] for id_ in receipt.generations if id_ in generations),
        seq=receipt.seq or 0,
    )


async def _place(
    connection: Connection, room: RoomAccess, branch: tree.Branch, *, after: uuid.UUID | None, beside: uuid.UUID | None
) -> Place:
    if beside is not None:
        found = (await selectors.messages(connection, [beside])).get(beside)
        if found is None or found.room != room.room_id:
            raise _not_here("message")
        own = found.author.id == room.membership_id
        files = tuple(part for part in found.parts if isinstance(part, FilePart)) if own else ()
        return Place(parent=found.parent, moves=True, files=files)
    if after is None or after == branch.leaf:
        return Place(parent=branch.leaf, moves=branch.chosen is not None)
    if not await selectors.is_in_room(connection, room_id=room.room_id, message_id=after):
        raise _not_here("parent")
    return Place(parent=after, moves=True)


def _not_here(field: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: there is no such message in this room.", details={"param": field})
