"""Conversations in a room, in few words."""

import uuid
from typing import Any

from chat.generations.runs import runs
from chat.services.messages import Sent, send_message
from chat.shapes import MessageShape
from chat.snapshots import snapshot
from tests.support.answers import FakeAnswering
from tests.support.cast import Actor
from tests.support.patience import soon


async def texts_of(actor: Actor, room_id: uuid.UUID) -> list[str]:
    """What somebody reads in a room."""
    return [message.text for message in (await snapshot(member=actor.principal, room_id=room_id)).messages]


async def say(actor: Actor, room_id: uuid.UUID, text: str, **options: Any) -> MessageShape:
    """A message that nobody answers."""
    sent = await send_message(member=actor.principal, room_id=room_id, text=text, generate=False, **options)
    return sent.message


async def answer(answering: FakeAnswering, generation_id: uuid.UUID, text: str) -> None:
    """Let an answer be this, and end."""
    written = await answering.answer_of(generation_id)
    written.say(text)
    written.end()
    _, task = runs()._runs[generation_id]
    async with soon():
        await task


async def ask(answering: FakeAnswering, actor: Actor, room_id: uuid.UUID, text: str, said: str, **options: Any) -> Sent:
    """A question and its answer."""
    sent = await send_message(member=actor.principal, room_id=room_id, text=text, **options)
    assert sent.generation is not None
    await answer(answering, sent.generation.id, said)
    return sent
