"""What follows a deletion, outside of the rows that were deleted: Redis, what was captured of requests, kept answers.

Done by a worker in a transaction of the tenant's, as often as it takes. Every step can be repeated.
"""

import uuid

import msgspec
from django.db import connection

from chat.realtime import streams, texts
from chat.services.erasure import Erased
from kernel.outbox import Message
from kernel.redis import sync_redis
from providers.services.forgetting import forget_answers, forget_content

# Whatever a model was asked from the first of the messages on may have held it.
_REQUESTS = """
    SELECT DISTINCT g.id, g.request_id FROM chat_message m JOIN chat_generation g
        ON g.tenant_id = m.tenant_id AND (g.id = m.generation_id OR g.prompt_id = m.id)
    WHERE m.room_id = %s AND m.id >= %s
"""
_ALL_REQUESTS = "SELECT id, request_id FROM chat_generation WHERE room_id = %s"
_EVENTS = """
    SELECT seq FROM chat_roomevent
    WHERE room_id = %s AND (ids->>'message' = ANY(%s) OR (%s AND type = 'room.updated'))
"""


def forget_elsewhere(message: Message) -> None:
    """Delete what other stores hold of messages that were erased."""
    erased = msgspec.convert(dict(message.payload), Erased)
    with connection.cursor() as cursor:
        if erased.messages:
            cursor.execute(_REQUESTS, [erased.room, min(erased.messages)])
        else:
            cursor.execute(_ALL_REQUESTS, [erased.room])
        asked = cursor.fetchall()
        cursor.execute(_EVENTS, [erased.room, [str(id_) for id_ in erased.messages], erased.untitled])
        numbers = [seq for (seq,) in cursor.fetchall()]
    forget_content([request_id for _, request_id in asked])
    forget_answers(erased.room)
    _forget_in_redis(message.tenant_id, erased, numbers, [generation_id for generation_id, _ in asked])


def _forget_in_redis(tenant_id: uuid.UUID, erased: Erased, numbers: list[int], generation_ids: list[uuid.UUID]) -> None:
    """Take the events that brought the messages out of the stream: who asks for them gets PostgreSQL's. Of a deleted room
    nothing stays."""
    stream = streams.stream_key(tenant_id, erased.room)
    with sync_redis().pipeline(transaction=False) as pipe:
        if numbers:
            pipe.xdel(stream, *(f"{seq}-0" for seq in numbers))
        if not erased.messages:
            pipe.delete(stream, streams.meta_key(tenant_id, erased.room))
        for generation_id in generation_ids:
            texts.forget_ended(pipe, tenant_id, erased.room, generation_id)
        pipe.execute()
