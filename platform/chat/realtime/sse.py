"""The protocol over server-sent events, for clients whose network lets no socket through: plain ASGI, ahead of Django, so that a
stream takes no thread.

    GET /api/v1/rooms/{id}/events        Last-Event-ID: <epoch>:<seq>
    GET /api/v1/generations/{id}/stream  Last-Event-ID: <part>:<off>

A stream is a socket that only listens: the hub looks after it as it does after the others, with the same bounds, the same
checks of who it is for, and the same ends, told in a last `close` event.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec
import structlog
from django.conf import settings

from chat import lifecycle
from chat.access import access_generation
from chat.bounds import SSE_PING_S
from chat.events import finished_event
from chat.realtime.envelopes import Envelope, event_payload, open_payload
from chat.realtime.feeds import Feed
from chat.realtime.frames import CloseCode, Position
from chat.realtime.hub import Hub, hub
from chat.realtime.outbox import Frame
from chat.realtime.places import Place, part_slice
from chat.realtime.sessions import open_session
from chat.realtime.socket import Socket
from chat.selectors import live_generation_ids
from chat.snapshots import generation as generation_shape
from chat.snapshots import live_parts
from chat.store import transaction
from kernel.api.context import current_request_id, set_request_id
from kernel.ending import end
from kernel.errors import (
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    ParleyError,
    RateLimited,
    Unavailable,
    envelope,
)
from kernel.ids import parse_uuid, uuid7
from kernel.net import client_address
from kernel.redis import RedisError
from tenants.principals import Principal

log = structlog.get_logger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_PATH = re.compile(r"/api/v1/(?P<what>rooms|generations)/(?P<id>[0-9a-fA-F-]{36})/(?P<how>events|stream)")
_WHICH = {"rooms": "events", "generations": "stream"}
_DIGITS_MAX = 16
_RETRY_S = 5
_DONE = 1000


def is_stream(scope: Mapping[str, Any]) -> bool:
    """Whether a request is for one of the two routes."""
    return scope["method"] == "GET" and _named(scope["path"]) is not None


def _named(path: str) -> tuple[str, uuid.UUID] | None:
    found = _PATH.fullmatch(path)
    if found is None or _WHICH[found["what"]] != found["how"]:
        return None
    id_ = parse_uuid(found["id"])
    return (found["what"], id_) if id_ is not None else None


async def event_streams(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI app of both routes."""
    set_request_id(str(uuid7()))
    try:
        named = _named(scope["path"])
        if named is None:
            raise NotFound
        await _Listener(scope, receive, send, *named).run()
    except ParleyError as error:
        await _refuse(send, error)
    except RedisError:
        await _refuse(send, Unavailable())


class Stream(Socket):
    """A socket that only listens."""

    hears_notes = False

    def __init__(self, *, send: Send, address: str) -> None:
        super().__init__(send=send, address=address)
        self._said_at = time.monotonic()
        self.last: Frame | None = None
        """The frame that the stream ends with."""

    async def _deliver(self, frame: Frame) -> None:
        self._said_at = time.monotonic()
        text = frame.message["text"]
        await self._write(f"event: {frame.op}\n{self._id(frame)}data: {text}\n\n" if text else ": ping\n\n")
        if frame is self.last:
            self.close(_DONE, "done")

    def _id(self, frame: Frame) -> str:
        return f"id: {frame.mark}\n" if frame.mark and frame.delta is None else ""

    async def _write(self, text: str) -> None:
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    async def _end(self, code: int, reason: str) -> None:
        told = msgspec.json.encode({"op": "close", "code": code, "reason": reason}).decode()
        body = b"" if code == _DONE else f"event: close\ndata: {told}\n\n".encode()
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def left(self, room_id: uuid.UUID) -> None:
        """Without its room there is nothing to hear."""
        super().left(room_id)
        self.close(CloseCode.NO_ROOM, "no such room")

    def _mind_silence(self, now: float) -> None:
        if now - self._said_at > SSE_PING_S:
            self._said_at = now
            self.offer(_PING)


_PING = Frame(b"")


class GenerationStream(Stream):
    """One that listens to one answer, until it has ended."""

    def _id(self, frame: Frame) -> str:
        return f"id: {frame.mark}\n" if frame.delta is not None else ""


class GenerationPlace(Place):
    """A place in a room that lets through what is of one answer."""

    def __init__(self, stream: GenerationStream, feed: Feed, generation_id: uuid.UUID) -> None:
        self._stream = stream
        self._generation_id = generation_id
        super().__init__(stream, feed)
        # Until `follow`: what is said meanwhile comes after what was said before.
        self.hold()

    def on_envelope(self, envelope: Envelope, frame: Frame) -> None:
        """Something happened in the room."""
        ended = envelope.type == "generation.finished" and envelope.subject == self._generation_id
        has_left = envelope.type == "member.left" and envelope.subject == self._stream.membership_id
        if ended:
            self._stream.last = frame
        if ended or envelope.gid == str(self._generation_id) or envelope.kind == "gone" or has_left:
            super().on_envelope(envelope, frame)

    async def follow(self, offsets: Mapping[int, int]) -> None:
        """Send what there is beyond `offsets`, then what comes."""
        room_id = self.feed.room_id
        await self.catch_up(Position(room=room_id, gens={self._generation_id: offsets}), replay=False)


class _Listener:
    """One request."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, what: str, id_: uuid.UUID) -> None:
        self._receive, self._send = receive, send
        self._what, self._id = what, id_
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        peer = scope.get("client")
        forwarded = headers.get(b"x-forwarded-for", "")
        self._address = client_address(peer[0] if peer else None, forwarded, settings.TRUSTED_PROXIES)
        scheme, _, credential = headers.get(b"authorization", "").partition(" ")
        self._credential = credential.strip() if scheme.lower() == "bearer" else ""
        self._last_id = headers.get(b"last-event-id", "")
        self._hub: Hub = hub()

    async def run(self) -> None:
        """From the request to the end, whoever ends it. Raises what keeps it from beginning."""
        if not self._credential:
            raise NotAuthenticated
        refusal = self._hub.refusal(address=self._address)
        if refusal is not None:
            raise Unavailable if refusal[0] == CloseCode.DRAINING else RateLimited(refusal[1], retry_after_s=_RETRY_S)
        kind = Stream if self._what == "rooms" else GenerationStream
        stream = kind(send=self._send, address=self._address)
        session = await open_session(token=self._credential, ticket=None, address=self._address)
        stream.renewed(session)
        if not self._hub.make_way(stream):
            raise RateLimited("Too many connections of this tenant.", retry_after_s=_RETRY_S)
        if isinstance(stream, GenerationStream):
            begin = await self._generation(stream, session.principal)
        else:
            begin = await self._room(stream, session.principal)
        self._hub.add(stream)
        try:
            await lifecycle.start()
            await self._send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await self._listen(stream, begin)
        finally:
            self._hub.remove(stream)

    async def _listen(self, stream: Stream, begin: Callable[[], Awaitable[None]]) -> None:
        tasks = [
            asyncio.create_task(stream.send_all(), name=f"stream {stream.sid} sends"),
            asyncio.create_task(self._until_gone(), name=f"stream {stream.sid} listens"),
        ]
        beginning = asyncio.create_task(self._begun(stream, begin), name=f"stream {stream.sid} begins")
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end((*tasks, beginning))

    async def _begun(self, stream: Stream, begin: Callable[[], Awaitable[None]]) -> None:
        try:
            await begin()
        except (ParleyError, RedisError) as error:
            log.warning("stream_not_begun", error=repr(error))
            stream.close(CloseCode.TIMED_OUT, "not now")

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue

    # --- a room -------------------------------------------------------------------------------------------------------

    async def _room(self, stream: Stream, member: Principal) -> Callable[[], Awaitable[None]]:
        position = self._room_position()
        feed = await self._hub.feed_for(member, self._id)
        async with transaction(member.tenant_id) as connection:
            live = await live_generation_ids(connection, self._id)

        async def begin() -> None:
            place = Place(stream, feed)
            stream.enter(place)
            # A client that names no answers holds nothing of them.
            await place.resume(msgspec.structs.replace(position, gens={gid: {} for gid in live}))

        return begin

    def _room_position(self) -> Position:
        if not self._last_id:
            return Position(room=self._id)
        epoch, _, seq = self._last_id.partition(":")
        return Position(room=self._id, epoch=str(_number(epoch)), seq=_number(seq))

    # --- an answer ----------------------------------------------------------------------------------------------------

    async def _generation(self, stream: GenerationStream, member: Principal) -> Callable[[], Awaitable[None]]:
        part, offset = self._generation_position()
        async with transaction(member.tenant_id) as connection:
            room = await access_generation(connection, member=member, generation_id=self._id)
        feed = await self._hub.feed_for(member, room.room.room_id)

        async def begin() -> None:
            # The place is taken first: an answer that ends from now on is heard of.
            place = GenerationPlace(stream, feed, self._id)
            stream.enter(place)
            shape = await generation_shape(member=member, generation_id=self._id)
            if shape.finished_at is not None:
                place.leave()
                await self._tell_ended(stream, feed, part, offset)
                return
            held = (await live_parts(feed.tenant_id, feed.room_id, [self._id])).get(self._id, ())
            offsets = {number: len(one.text) for number, one in enumerate(held[:part])} | {part: offset}
            await place.follow(offsets)

        return begin

    async def _tell_ended(self, stream: GenerationStream, feed: Feed, part: int, offset: int) -> None:
        """What is left of an answer that has ended, and its end."""
        found = await finished_event(feed.tenant_id, feed.room_id, self._id)
        if found is None:
            raise NotFound
        head, event, parts = found
        last = Frame.of(open_payload(event_payload(feed.room_id, epoch=head.epoch, event=event)))
        stream.last = last
        for number, one in enumerate(parts):
            start = 0 if number > part else offset if number == part else len(one.text)
            if start < len(one.text):
                await stream.put(part_slice(feed.room_id, self._id, number, one, start))
        await stream.put(last)

    def _generation_position(self) -> tuple[int, int]:
        if not self._last_id:
            return 0, 0
        part, _, offset = self._last_id.partition(":")
        return _number(part), _number(offset)


def _number(said: str) -> int:
    if not (said.isascii() and said.isdigit() and len(said) <= _DIGITS_MAX):
        raise InvalidRequest("Last-Event-ID: two numbers are needed, with a colon between them.")
    return int(said)


_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # Proxies that gather answers before they pass them on must not.
    (b"x-accel-buffering", b"no"),
]


async def _refuse(send: Send, error: ParleyError) -> None:
    shown = envelope(error, request_id=current_request_id())
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    headers += [(b"content-type", b"application/json"), (b"x-request-id", current_request_id().encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": msgspec.json.encode(shown)})
