"""What members think of answers: a thumb up or down, and why.

An answer that is thumbed down, and that the semantic cache served, is served to nobody any more: the message
`chat.answer_disliked` of the outbox sees to that.
"""

import uuid
from datetime import datetime

import msgspec

from chat.access import MessageAccess, access_message
from chat.bounds import FEEDBACK_COMMENT_CHARS_MAX
from chat.checks import check_text
from chat.store import Connection, every, first, transaction
from kernel.errors import Conflict
from kernel.ids import uuid7
from kernel.outbox import send_on
from tenants.principals import Principal

DISLIKED = "chat.answer_disliked"


class FeedbackShape(msgspec.Struct, frozen=True):
    """What somebody thinks of an answer. `member` is the membership; what was asked and said isn't told here."""

    id: uuid.UUID
    message: uuid.UUID
    room: uuid.UUID
    member: uuid.UUID
    model: str
    rating: str
    comment: str
    created_at: datetime
    updated_at: datetime


_COLUMNS = "id, message_id AS message, room_id AS room, membership_id AS member, model, rating, comment, created_at, updated_at"

_GIVE = f"""
    INSERT INTO chat_feedback (tenant_id, id, room_id, message_id, membership_id, model, rating, comment)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (tenant_id, message_id, membership_id)
    DO UPDATE SET rating = excluded.rating, comment = excluded.comment, updated_at = now()
    RETURNING {_COLUMNS}
"""  # noqa: S608 - constants


async def give_feedback(*, member: Principal, message_id: uuid.UUID, rating: str, comment: str = "") -> FeedbackShape:
    """Say what the member thinks of an answer (`up` or `down`), in place of what they said before.

    Raises `NotFound`, `PermissionDenied`, `InvalidRequest`, and `Conflict` for what is no answer, or was deleted.
    """
    check_text(comment, field="comment", chars_max=FEEDBACK_COMMENT_CHARS_MAX, blank=True)
    async with transaction(member.tenant_id) as connection:
        answer = await _answer(connection, member, message_id)
        answer.require_there()
        row = await first(
            connection,
            _GIVE,
            (
                member.tenant_id,
                uuid7(),
                answer.room.room_id,
                message_id,
                member.membership_id,
                answer.model,
                rating,
                comment,
            ),
        )
        if row is None:
            raise Conflict
        if rating == "down" and answer.generation_id is not None:
            asked = await first(
                connection, "SELECT request_id FROM chat_generation WHERE id = %s", (answer.generation_id,)
            )
            if asked is not None:
                await send_on(
                    connection,
                    tenant_id=member.tenant_id,
                    topic=DISLIKED,
                    payload={"request_id": str(asked["request_id"])},
                    once_key=str(answer.generation_id),
                )
        return FeedbackShape(**row)


async def take_feedback_back(*, member: Principal, message_id: uuid.UUID) -> None:
    """Forget what the member said of an answer; nothing happens where that was nothing. Raises `NotFound`,
    `PermissionDenied`, `Conflict` for what is no answer."""
    async with transaction(member.tenant_id) as connection:
        await _answer(connection, member, message_id)
        await connection.execute(
            "DELETE FROM chat_feedback WHERE message_id = %s AND membership_id = %s",
            (message_id, member.membership_id),
        )


async def list_feedback(
    *, caller: Principal, before: uuid.UUID | None, limit: int, rating: str | None = None, model: str | None = None
) -> list[FeedbackShape]:
    """What members of the tenant think of answers, newest first. Rooms stay closed: no text of theirs is told.

    Raises `PermissionDenied` without `feedback.read`.
    """
    caller.require("feedback.read")
    async with transaction(caller.tenant_id) as connection:
        rows = await every(
            connection,
            f"SELECT {_COLUMNS} FROM chat_feedback "  # noqa: S608 - constants
            "WHERE (%(before)s::uuid IS NULL OR id < %(before)s::uuid) "
            "AND (%(rating)s::text IS NULL OR rating = %(rating)s) AND (%(model)s::text IS NULL OR model = %(model)s) "
            "ORDER BY id DESC LIMIT %(limit)s",
            {"before": before, "rating": rating, "model": model, "limit": limit},
        )
    return [FeedbackShape(**row) for row in rows]


async def _answer(connection: Connection, member: Principal, message_id: uuid.UUID) -> MessageAccess:
    answer = await access_message(connection, member=member, message_id=message_id)
    if answer.author_kind != "model":
        raise Conflict("Only answers of models can be judged.", details={"reason": "no_answer"})
    return answer
