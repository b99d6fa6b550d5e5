"""What a model is given to answer from: the room's instructions and its latest turns, within a budget."""

import uuid

from chat import selectors
from chat.answering import Question, Turn, answering
from chat.bounds import CONTEXT_CHARS_MAX, CONTEXT_CHARS_PER_TOKEN, CONTEXT_SHARE_FOR_ANSWER
from chat.generations.leases import Claimed
from chat.shapes import MessageShape
from chat.store import transaction
from kernel.errors import NotFound
from tenants.principals import Principal


async def question_of(generation_id: uuid.UUID, claimed: Claimed, *, principal: Principal) -> Question:
    """The question that a generation puts to its model. Raises `NotFound` when the room is gone."""
    tokens = await answering().context_tokens(principal=principal, alias=claimed.model)
    async with transaction(principal.tenant_id) as connection:
        room = await selectors.room(connection, claimed.room_id)
        if room is None:
            raise NotFound
        messages = await selectors.context_messages(connection, room_id=claimed.room_id, until=claimed.prompt_id)
    return Question(
        principal=principal,
        request_id=claimed.request_id,
        generation_id=generation_id,
        room_id=claimed.room_id,
        room_title=room.title,
        alias=claimed.model,
        instructions=room.instructions,
        turns=within_budget(messages, budget_chars=_budget_chars(tokens) - len(room.instructions)),
    )


def within_budget(messages: list[MessageShape], *, budget_chars: int) -> tuple[Turn, ...]:
    """The latest turns that fit. The prompt itself, the last, is always among them."""
    turns: list[Turn] = []
    left = budget_chars
    for message in reversed(messages):
        left -= len(message.text)
        if turns and left < 0:
            break
        role = "assistant" if message.author.kind == "model" else "user"
        turns.append(Turn(role=role, text=message.text))  # type: ignore[arg-type]
    return tuple(reversed(turns))


def _budget_chars(context_tokens: int | None) -> int:
    if context_tokens is None:
        return CONTEXT_CHARS_MAX
    for_context = context_tokens - context_tokens // CONTEXT_SHARE_FOR_ANSWER
    return for_context * CONTEXT_CHARS_PER_TOKEN
