"""Say something in a room, and let a model answer."""

import uuid
from datetime import UTC, datetime

import msgspec
from psycopg.types.json import Jsonb

from chat import selectors
from chat.access import RoomAccess, access_room
from chat.answering import answering
from chat.bounds import LIVE_GENERATIONS_PER_ROOM_MAX, MESSAGE_CHARS_MAX
from chat.checks import check_text
from chat.events import EventIds, RoomEvent, insert_event, room_event, take_numbers
from chat.generations.runs import runs
from chat.realtime import streams
from chat.services.receipts import AlreadyDone, Receipt, find_receipt, write_receipt
from chat.shapes import Author, GenerationShape, MessageShape, TextPart
from chat.store import Connection, first, transaction
from kernel import lifecycle
from kernel.errors import Conflict, RateLimited, Unavailable
from kernel.ids import uuid7
from tenants.principals import Principal


class Sent(msgspec.Struct, frozen=True):
    """A message that is in the room, and the answer to it that was begun, if any."""

    message: MessageShape
    generation: GenerationShape | None
    seq: int


class _Draft(msgspec.Struct, frozen=True):
    """What to write, once the room's numbers are known."""

    text: str
    alias: str | None
    now: datetime


async def send_message(
    *,
    member: Principal,
    room_id: uuid.UUID,
    text: str,
    model: str | None = None,
    generate: bool = True,
    cid: str | None = None,
) -> Sent:
    """Write a message and, with `generate`, queue the answer of `model` (or the room's, or the default).

    The same `cid` again writes nothing and answers what the first did. Raises `NotFound`, `PermissionDenied`,
    `InvalidRequest`, `Conflict` when a `cid` was another command's, and `Unavailable` in a process that is going down.
    """
    check_text(text, field="text", chars_max=MESSAGE_CHARS_MAX)
    async with transaction(member.tenant_id) as connection:
        room = await access_room(connection, member=member, room_id=room_id, write=True)
        if cid and (receipt := await find_receipt(connection, membership_id=member.membership_id, cid=cid)):
            return await _sent_before(connection, receipt, room_id)
    alias = None
    if generate:
        member.require("models.use")
        if lifecycle.is_draining():
            raise Unavailable("This process is about to restart. Try again.")
        alias = await answering().choose_model(principal=member, alias=model or room.model)
    draft = _Draft(text=text, alias=alias, now=datetime.now(UTC))
    try:
        async with transaction(member.tenant_id) as connection:
            sent, events, epoch = await _write(connection, room=room, draft=draft, cid=cid)
    except AlreadyDone:
        async with transaction(member.tenant_id) as connection:
            done = await find_receipt(connection, membership_id=member.membership_id, cid=cid or "")
            return await _sent_before(connection, done or Receipt(), room_id)
    await streams.publish(member.tenant_id, room_id, epoch=epoch, events=events)
    if sent.generation is not None:
        await runs().start(principal=member, generation_id=sent.generation.id)
    return sent


async def _write(
    connection: Connection, *, room: RoomAccess, draft: _Draft, cid: str | None
) -> tuple[Sent, list[RoomEvent], int]:
    count = 1 if draft.alias is None else 2
    numbers = await take_numbers(connection, room_id=room.room_id, count=count, now=draft.now, message=True)
    if draft.alias is not None:
        await _check_live(connection, room.room_id)
    message = await _insert_message(connection, room, draft)
    generation = await _insert_generation(connection, room, message.id, draft) if draft.alias else None
    events = [room_event(seq=numbers.first_seq, type_="message.created", at=draft.now, content={"message": message})]
    ids = [EventIds(message=message.id)]
    if generation is not None:
        events.append(
            room_event(
                seq=numbers.first_seq + 1,
                type_="generation.started",
                at=draft.now,
                content={"generation": generation},
                subject=generation.id,
            )
        )
        ids.append(EventIds(generation=generation.id))
    for event, about in zip(events, ids, strict=True):
        await insert_event(connection, tenant_id=room.tenant_id, room_id=room.room_id, event=event, ids=about)
    if cid:
        receipt = Receipt(id=message.id, seq=numbers.first_seq, generation=generation.id if generation else None)
        await write_receipt(
            connection, tenant_id=room.tenant_id, membership_id=room.membership_id, cid=cid, receipt=receipt
        )
    return Sent(message=message, generation=generation, seq=numbers.first_seq), events, numbers.epoch


async def _check_live(connection: Connection, room_id: uuid.UUID) -> None:
    row = await first(
        connection,
        "SELECT count(*) AS live FROM chat_generation WHERE room_id = %s AND status IN ('queued', 'streaming')",
        (room_id,),
    )
    if row is not None and row["live"] >= LIVE_GENERATIONS_PER_ROOM_MAX:
        raise RateLimited("Too many answers are being written in this room. Wait for one to end.", retry_after_s=5)


async def _insert_message(connection: Connection, room: RoomAccess, draft: _Draft) -> MessageShape:
    message = MessageShape(
        # Made under the room's lock, so that messages sort by id as they do by number.
        id=uuid7(),
        room=room.room_id,
        author=Author(kind="member", id=room.membership_id, name=room.name),
        parent=None,
        parts=(TextPart(draft.text),),
        text=draft.text,
        generation=None,
        answered=None,
        created_at=draft.now,
        edited_at=None,
        deleted=False,
    )
    await connection.execute(
        "INSERT INTO chat_message (tenant_id, id, room_id, author_kind, author_membership_id, parts, text, created_at) "
        "VALUES (%s, %s, %s, 'member', %s, %s, %s, %s)",
        (
            room.tenant_id,
            message.id,
            room.room_id,
            room.membership_id,
            Jsonb(msgspec.to_builtins(message.parts)),
            draft.text,
            draft.now,
        ),
    )
    return message


async def _insert_generation(
    connection: Connection, room: RoomAccess, prompt_id: uuid.UUID, draft: _Draft
) -> GenerationShape:
    generation = GenerationShape(
        id=uuid7(),
        room=room.room_id,
        prompt=prompt_id,
        answer=None,
        model=draft.alias or "",
        status="queued",
        text=None,
        error=None,
        usage=None,
        cost_nano=None,
        requested_by=room.membership_id,
        started_at=draft.now,
        finished_at=None,
    )
    await connection.execute(
        "INSERT INTO chat_generation (tenant_id, id, room_id, prompt_id, model, requested_by_id, request_id, attempt, "
        "started_at) VALUES (%s, %s, %s, %s, %s, %s, %s, '{}', now())",
        (
            room.tenant_id,
            generation.id,
            room.room_id,
            prompt_id,
            generation.model,
            room.membership_id,
            uuid7(),
        ),
    )
    return generation


async def _sent_before(connection: Connection, receipt: Receipt, room_id: uuid.UUID) -> Sent:
    if receipt.id is None:
        raise Conflict("This cid was another command's.")
    messages = await selectors.messages(connection, [receipt.id])
    message = messages.get(receipt.id)
    if message is None or message.room != room_id:
        raise Conflict("This cid was another command's.")
    generations = await selectors.generations(connection, [receipt.generation] if receipt.generation else [])
    generation = generations.get(receipt.generation) if receipt.generation else None
    return Sent(message=message, generation=generation, seq=receipt.seq or 0)
