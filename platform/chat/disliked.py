"""Consumer of `chat.answer_disliked`: what the semantic cache served or kept and somebody calls wrong, it serves no more."""

import uuid

import msgspec

from kernel.outbox import Message
from providers.services.cache import forget_disliked


class Disliked(msgspec.Struct, frozen=True):
    """What the outbox says of an answer: the request that it was given to."""

    request_id: uuid.UUID


def forget_answer(message: Message) -> None:
    """Nothing happens where no cache has it."""
    forget_disliked(msgspec.convert(message.payload, Disliked).request_id)
