"""Let models answer a message that is there, or answer once more."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import msgspec

from chat import selectors
from chat.access import MessageAccess, RoomAccess, access_generation, access_message
from chat.events import take_numbers
from chat.services.answerers import chosen_models, model_of
from chat.services.messages import tell_and_begin
from chat.services.once import once
from chat.services.receipts import Receipt, write_receipt
from chat.services.writing import begun, choose_branch, insert_generations, write_events
from chat.shapes import GenerationShape
from chat.store import Connection, first, transaction
from kernel.errors import Conflict, NotFound
from tenants.principals import Principal

START, REGENERATE = "generation.start", "generation.regenerate"


class Started(msgspec.Struct, frozen=True):
    """Answers that were begun, in the order of their models."""

    generations: tuple[GenerationShape, ...]
    seq: int


async def start_generations(
    *,
    member: Principal,
    message_id: uuid.UUID,
    models: Sequence[str] = (),
    room_id: uuid.UUID | None = None,
    cid: str | None = None,
) -> Started:
    """Queue answers of `models`, or of the room's, to any message of a room. The member then reads on at that message.

    Raises `NotFound`, also for a model and for a message that isn't in the room where one is given,
    `PermissionDenied`, `Conflict` for a deleted message, `InvalidRequest`, `RateLimited`, `Unavailable`.
    """
    async with transaction(member.tenant_id) as connection:
        prompt = await access_message(connection, member=member, message_id=message_id, write=True)
    _require_in(prompt.room, room_id)

    async def do() -> Started:
        prompt.require_there()
        aliases = await chosen_models(member=member, aliases=tuple(models) or (await model_of(prompt.room),))
        return await _begin(member, prompt, aliases, receipt_of=(START, cid) if cid else None)

    return await once(member=member, command=START, cid=cid, do=do, again=_started_before(prompt))


async def regenerate(
    *,
    member: Principal,
    generation_id: uuid.UUID,
    model: str | None = None,
    room_id: uuid.UUID | None = None,
    cid: str | None = None,
) -> Started:
    """Queue another answer to what a generation answered, by `model` or the same: never one from a cache.

    Raises as `start_generations` does, and `Conflict` for a generation that hasn't ended.
    """
    async with transaction(member.tenant_id) as connection:
        known = await access_generation(connection, member=member, generation_id=generation_id, write=True)
        _require_in(known.room, room_id)
        prompt = await access_message(connection, member=member, message_id=known.prompt_id, write=True)

    async def do() -> Started:
        if known.status in ("queued", "streaming"):
            raise Conflict("This answer is still being written. Stop it first.", details={"reason": "live"})
        prompt.require_there()
        aliases = await chosen_models(member=member, aliases=(model or known.model,))
        return await _begin(member, prompt, aliases, receipt_of=(REGENERATE, cid) if cid else None, anew=True)

    return await once(member=member, command=REGENERATE, cid=cid, do=do, again=_started_before(prompt))


async def _begin(
    member: Principal,
    prompt: MessageAccess,
    aliases: Sequence[str],
    *,
    receipt_of: tuple[str, str] | None,
    anew: bool = False,
) -> Started:
    room, now = prompt.room, datetime.now(UTC)
    async with transaction(member.tenant_id) as connection:
        numbers = await take_numbers(connection, room_id=room.room_id, count=len(aliases), now=now, ids=len(aliases))
        await _require_not_deleted(connection, prompt.message_id)
        generations = await insert_generations(
            connection,
            room,
            ids=numbers.ids,
            prompt_id=prompt.message_id,
            aliases=aliases,
            now=now,
            key_id=member.api_key_id,
            anew=anew,
        )
        await choose_branch(connection, room, prompt.message_id)
        events = await write_events(
            connection, room, numbers=numbers, now=now, news=[begun(generation) for generation in generations]
        )
        if receipt_of is not None:
            command, cid = receipt_of
            ids = tuple(generation.id for generation in generations)
            await write_receipt(
                connection,
                tenant_id=room.tenant_id,
                membership_id=room.membership_id,
                cid=cid,
                receipt=Receipt(command=command, id=prompt.message_id, seq=numbers.first_seq, generations=ids),
            )
    await tell_and_begin(member, room.room_id, numbers.epoch, events, generations)
    return Started(generations=generations, seq=numbers.first_seq)


async def _require_not_deleted(connection: Connection, message_id: uuid.UUID) -> None:
    """The same as was looked at before, now that the room is locked."""
    row = await first(connection, "SELECT 1 FROM chat_message WHERE id = %s AND deleted_at IS NULL", (message_id,))
    if row is None:
        raise Conflict("This message was deleted.", details={"reason": "deleted"})


def _started_before(prompt: MessageAccess) -> Callable[[Connection, Receipt], Awaitable[Started]]:
    async def again(connection: Connection, receipt: Receipt) -> Started:
        if receipt.id != prompt.message_id:
            raise Conflict("This cid was another command's.")
        found = await selectors.generations(connection, receipt.generations)
        return Started(generations=tuple(found[id_] for id_ in receipt.generations), seq=receipt.seq or 0)

    return again


def _require_in(room: RoomAccess, room_id: uuid.UUID | None) -> None:
    if room_id is not None and room.room_id != room_id:
        raise NotFound
