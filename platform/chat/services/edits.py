"""Change what was said: another text, a text in place of it, no text at all, or an emoji under it.

An answer that is being written to a message goes on when that is edited: it answers what was asked then. It is stopped when
the message is deleted.
"""

import unicodedata
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import msgspec
from psycopg.types.json import Jsonb

from chat import selectors
from chat.access import MessageAccess, access_message
from chat.bounds import EMOJI_CHARS_MAX, MESSAGE_CHARS_MAX, REACTIONS_PER_MESSAGE_MAX
from chat.checks import check_text
from chat.events import take_numbers
from chat.generations.runs import runs
from chat.message_parts import FilePart, TextPart
from chat.realtime import streams, texts
from chat.services.answerers import addressed
from chat.services.erasure import Gone, erase_messages
from chat.services.messages import Sent, sent_before, write_message
from chat.services.notes import Noted, note_mentions, tell_notes
from chat.services.once import once
from chat.services.receipts import Receipt, write_receipt
from chat.services.summaries import forget_summaries
from chat.services.writing import said, write_events
from chat.shapes import MessageShape
from chat.store import Connection, every, first, transaction
from kernel.errors import Conflict, InvalidRequest, NotFound
from kernel.ids import uuid7
from tenants.principals import Principal

EDIT, DELETE, REACT = "message.edit", "message.delete", "message.react"


class Changed(msgspec.Struct, frozen=True):
    """A message as it is now. `seq` is None where nothing had to be changed."""

    message: MessageShape
    seq: int | None


class _Unchanged(Exception):
    """It was so before; the number that was taken goes back."""


Apply = Callable[[Connection, datetime], Awaitable[bool]]


async def edit_message(
    *, member: Principal, message_id: uuid.UUID, text: str, room_id: uuid.UUID | None = None, cid: str | None = None
) -> Changed:
    """Give a message of the member's own another text. Its files stay, and so do the answers to it. Those whom only the new
    text names are noted.

    Raises `NotFound`, `PermissionDenied`, `InvalidRequest`, and `Conflict` for a deleted message.
    """
    check_text(text, field="text", chars_max=MESSAGE_CHARS_MAX)
    target = await _target(member, message_id, room_id)
    target.require_own()
    to = await addressed(member=member, room=target.room, text=text, generate=False)
    noted: list[Noted] = []

    async def apply(connection: Connection, now: datetime) -> bool:
        known = (await selectors.messages(connection, [message_id]))[message_id]
        if known.deleted:
            raise Conflict("This message was deleted.", details={"reason": "deleted"})
        parts = (TextPart(text), *(part for part in known.parts if isinstance(part, FilePart)))
        await connection.execute(
            "UPDATE chat_message SET text = %s, parts = %s, mentions = %s, edited_at = %s WHERE id = %s",
            (text, Jsonb(msgspec.to_builtins(parts)), Jsonb(msgspec.to_builtins(to.mentions)), now, message_id),
        )
        await _forget_answers(connection, target)
        newly = [one for one in to.mentions if one not in known.mentions]
        note = await note_mentions(connection, target.room, message_id=message_id, members=newly)
        noted[:] = [note] if note else []
        return known.text != text

    changed = await _change(member, target, (EDIT, cid), "message.edited", apply)
    await _unsay(target, changed)
    for note in noted if changed.seq is not None else ():
        await tell_notes(note)
    return changed


async def branch_message(
    *,
    member: Principal,
    message_id: uuid.UUID,
    text: str,
    model: str | None = None,
    models: Sequence[str] = (),
    generate: bool = True,
    room_id: uuid.UUID | None = None,
    cid: str | None = None,
) -> Sent:
    """Write another text beside a message of the member's own, and let it be answered as `send_message` does. The member
    reads on there.

    Raises as `send_message` does.
    """
    check_text(text, field="text", chars_max=MESSAGE_CHARS_MAX)
    target = await _target(member, message_id, room_id)
    target.require_own()

    async def do() -> Sent:
        to = await addressed(member=member, room=target.room, text=text, model=model, models=models, generate=generate)
        receipt_of = (EDIT, cid) if cid else None
        return await write_message(
            member=member, room=target.room, text=text, to=to, beside=message_id, receipt_of=receipt_of
        )

    async def again(connection: Connection, receipt: Receipt) -> Sent:
        return await sent_before(connection, receipt, target.room.room_id)

    return await once(member=member, command=EDIT, cid=cid, do=do, again=again)


async def delete_message(
    *, member: Principal, message_id: uuid.UUID, room_id: uuid.UUID | None = None, cid: str | None = None
) -> Changed:
    """Take a message's text, files and reactions away for ever; its place stays. Who wrote it may, who asked for it, and the
    room's owners. The answers being written to it are stopped. Deleting twice is deleting once.

    Raises `NotFound`, `PermissionDenied`.
    """
    target = await _target(member, message_id, room_id)
    target.require_may_delete()
    stopped: list[tuple[uuid.UUID, uuid.UUID | None]] = []
    erased: list[Gone] = []

    async def apply(connection: Connection, now: datetime) -> bool:
        there = await first(
            connection, "SELECT 1 FROM chat_message WHERE id = %s AND deleted_at IS NULL", (message_id,)
        )
        if there is None:
            return False
        gone = await erase_messages(
            connection, tenant_id=member.tenant_id, room_id=target.room.room_id, ids=[message_id], now=now
        )
        erased.append(gone)
        live = await every(
            connection,
            "UPDATE chat_generation SET stop_requested_at = coalesce(stop_requested_at, now()) "
            "WHERE prompt_id = %s AND status IN ('queued', 'streaming') RETURNING id, lease_owner",
            (message_id,),
        )
        stopped.extend((row["id"], row["lease_owner"]) for row in live)
        return True

    changed = await _change(member, target, (DELETE, cid), "message.deleted", apply)
    for gone in erased:
        if gone.untitled is not None:
            await streams.publish(member.tenant_id, target.room.room_id, epoch=gone.epoch, events=[gone.untitled])
    await _unsay(target, changed)
    for generation_id, owner in stopped:
        await runs().stop(generation_id, owner=owner)
    return changed


async def react(
    *,
    member: Principal,
    message_id: uuid.UUID,
    emoji: str,
    remove: bool = False,
    room_id: uuid.UUID | None = None,
    cid: str | None = None,
) -> Changed:
    """Put an emoji under a message, or take the member's own away. Doing so twice is doing so once.

    Raises `NotFound`, `PermissionDenied`, `InvalidRequest` for what is no emoji, `Conflict` for a deleted message and
    where there are too many different ones.
    """
    _check_emoji(emoji)
    target = await _target(member, message_id, room_id)

    async def add(connection: Connection, now: datetime) -> bool:
        await _check_reactable(connection, message_id, emoji)
        row = await first(
            connection,
            "INSERT INTO chat_reaction (tenant_id, id, room_id, message_id, membership_id, emoji, created_at) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (tenant_id, message_id, membership_id, emoji) DO NOTHING "
            "RETURNING id",
            (member.tenant_id, uuid7(), target.room.room_id, message_id, member.membership_id, emoji, now),
        )
        return row is not None

    async def take_away(connection: Connection, now: datetime) -> bool:
        row = await first(
            connection,
            "DELETE FROM chat_reaction WHERE message_id = %s AND membership_id = %s AND emoji = %s RETURNING id",
            (message_id, member.membership_id, emoji),
        )
        return row is not None

    return await _change(member, target, (REACT, cid), "message.reacted", take_away if remove else add)


async def _target(member: Principal, message_id: uuid.UUID, room_id: uuid.UUID | None) -> MessageAccess:
    async with transaction(member.tenant_id) as connection:
        target = await access_message(connection, member=member, message_id=message_id, write=True)
    if room_id is not None and target.room.room_id != room_id:
        raise NotFound
    return target


async def _change(
    member: Principal, target: MessageAccess, asked: tuple[str, str | None], type_: str, apply: Apply
) -> Changed:
    """Change a message and tell the room, unless `apply` says that it is so already."""
    (command, cid), room = asked, target.room

    async def do() -> Changed:
        now = datetime.now(UTC)
        try:
            async with transaction(member.tenant_id) as connection:
                numbers = await take_numbers(connection, room_id=room.room_id, count=1, now=now)
                if not await apply(connection, now):
                    raise _Unchanged
                message = (await selectors.messages(connection, [target.message_id]))[target.message_id]
                news = [said(message, type_=type_)]
                events = await write_events(connection, room, numbers=numbers, now=now, news=news)
                if cid is not None:
                    receipt = Receipt(command=command, id=message.id, seq=numbers.first_seq)
                    await write_receipt(
                        connection, tenant_id=room.tenant_id, membership_id=room.membership_id, cid=cid, receipt=receipt
                    )
        except _Unchanged:
            async with transaction(member.tenant_id) as connection:
                return await _as_it_is(connection, target.message_id, None)
        await streams.publish(member.tenant_id, room.room_id, epoch=numbers.epoch, events=events)
        return Changed(message=message, seq=numbers.first_seq)

    async def again(connection: Connection, receipt: Receipt) -> Changed:
        if receipt.id != target.message_id:
            raise Conflict("This cid was another command's.")
        return await _as_it_is(connection, target.message_id, receipt.seq)

    return await once(member=member, command=command, cid=cid, do=do, again=again)


async def _as_it_is(connection: Connection, message_id: uuid.UUID, seq: int | None) -> Changed:
    return Changed(message=(await selectors.messages(connection, [message_id]))[message_id], seq=seq)


async def _forget_answers(connection: Connection, target: MessageAccess) -> None:
    """Drop what was made of the message, and answers that are kept to be given again: a repeated call is known by its cid."""
    await forget_summaries(connection, room_id=target.room.room_id, message_id=target.told_with)
    await connection.execute(
        "DELETE FROM kernel_idempotencykey WHERE status IS NOT NULL AND (path LIKE '/api/v1/rooms/%%' "
        "OR path LIKE '/api/v1/messages/%%' OR path LIKE '/api/v1/generations/%%') AND position(%s IN body) > 0",
        (str(target.message_id),),
    )


async def _unsay(target: MessageAccess, changed: Changed) -> None:
    """Take the text of before out of what Redis holds of the room."""
    if changed.seq is None:
        return
    room = target.room
    await streams.forget_before(room.tenant_id, room.room_id, seq=changed.seq)
    if target.generation_id is not None:
        await texts.forget(room.tenant_id, room.room_id, target.generation_id)


async def _check_reactable(connection: Connection, message_id: uuid.UUID, emoji: str) -> None:
    row = await first(
        connection,
        "SELECT m.deleted_at IS NOT NULL AS deleted, count(DISTINCT r.emoji) AS others FROM chat_message m "
        "LEFT JOIN chat_reaction r ON r.tenant_id = m.tenant_id AND r.message_id = m.id AND r.emoji <> %s "
        "WHERE m.id = %s GROUP BY m.id, m.deleted_at",
        (emoji, message_id),
    )
    if row is None or row["deleted"]:
        raise Conflict("This message was deleted.", details={"reason": "deleted"})
    if row["others"] >= REACTIONS_PER_MESSAGE_MAX:
        raise Conflict(f"A message has at most {REACTIONS_PER_MESSAGE_MAX} different emoji.")


_SYMBOLS = ("So", "Sk", "Sm")
_KEYCAP = "\u20e3"
_JOINERS = ("Mn", "Me", "Cf", "Co")


def _check_emoji(emoji: str) -> None:
    """One or more symbols, with what joins and varies them; or a keycap. Raises `InvalidRequest`."""
    kinds = [unicodedata.category(character) for character in emoji[: EMOJI_CHARS_MAX + 1]]
    keycap = emoji.endswith(_KEYCAP) and emoji[:1] in "0123456789#*" and len(emoji) <= 3
    symbols = any(kind in _SYMBOLS for kind in kinds) and all(kind in _SYMBOLS or kind in _JOINERS for kind in kinds)
    if not emoji or len(emoji) > EMOJI_CHARS_MAX or not (keycap or symbols):
        raise InvalidRequest(
            f"emoji: one emoji is needed, of at most {EMOJI_CHARS_MAX} characters.", details={"param": "emoji"}
        )
