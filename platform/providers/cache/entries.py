"""An answer kept, and its form in the stores below this process."""

import zlib
from collections.abc import Iterator
from uuid import UUID

import msgspec

from providers.assemble import events_of
from providers.types import ChatAnswer, StreamEvent, TextDelta

_FORM_PLAIN, _FORM_ZLIB = b"\x01", b"\x02"
COMPRESSED_FROM_BYTES = 1024
"""Shorter ones hardly shrink."""
MAX_ENTRY_BYTES = 256 * 1024
"""Of an answer, encoded and not compressed. Longer ones are not kept."""
PIECE_CHARS = 48
"""Code points in a piece of a kept text that is streamed."""


class Kept(msgspec.Struct, frozen=True):
    """An answer and where it came from. `created` and `expires` are in seconds since 1970; `provider` and `model` are
    whose it is; `dropped` is what had been left out of the request; `cost_nano` is what it was sold at."""

    answer: ChatAnswer
    created: float
    expires: float
    provider: str
    model: str
    dropped: tuple[str, ...] = ()
    cost_nano: int = 0


class Entry:
    """A kept answer in this process. `bodies` holds what callers were sent, to be sent again: by API and shape."""

    __slots__ = ("bodies", "kept", "key", "size", "tenant_id")

    def __init__(self, key: bytes, tenant_id: UUID, kept: Kept, size: int) -> None:
        self.key = key
        self.tenant_id = tenant_id
        self.kept = kept
        self.size = size
        self.bodies: dict[tuple[str, ...], tuple[bytes, ...] | None] = {}

    def events(self) -> Iterator[StreamEvent]:
        """The answer in the pieces of a stream."""
        for event in events_of(self.kept.answer):
            if isinstance(event, TextDelta) and event.logprobs is None:
                text = event.text
                for start in range(0, len(text), PIECE_CHARS):
                    yield TextDelta(text[start : start + PIECE_CHARS], event.index)
            else:
                yield event


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Kept)


def encode(kept: Kept) -> bytes:
    """The answer as JSON: its raw parts are JSON too."""
    return _encoder.encode(kept)


def pack(encoded: bytes) -> bytes:
    """What is stored of an encoded answer: a byte that says how, and the answer, compressed if that is worth it."""
    if len(encoded) < COMPRESSED_FROM_BYTES:
        return _FORM_PLAIN + encoded
    return _FORM_ZLIB + zlib.compress(encoded, 1)


def unpack(packed: bytes) -> tuple[Kept, int] | None:
    """The answer and its size in bytes, or None for what this version can't read."""
    form, body = packed[:1], packed[1:]
    try:
        if form == _FORM_ZLIB:
            inflate = zlib.decompressobj()
            body = inflate.decompress(body, MAX_ENTRY_BYTES + 1)
        elif form != _FORM_PLAIN:
            return None
        return _decoder.decode(body), len(body)
    except (zlib.error, msgspec.DecodeError):
        return None
