"""Consumer of `chat.answer_disliked`: what the semantic cache served and somebody calls wrong, it serves no more."""

import uuid

import msgspec

from kernel.outbox import Message
from providers.services.semantic import report_wrong_answer


class Disliked(msgspec.Struct, frozen=True):
    """What the outbox says of an answer: the request that it was given to."""

    request_id: uuid.UUID


def forget_answer(message: Message) -> None:
    """Nothing happens where no cache served it."""
    report_wrong_answer(msgspec.convert(message.payload, Disliked).request_id)
