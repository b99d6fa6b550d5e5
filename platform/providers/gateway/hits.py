"""Hits, sent as they are: the body of an answer from the cache is made once per API and shape, and kept.

Only the request's id differs from one caller to the next: bodies are made with a stand-in for it and split there. The
time of creation is that of the answer."""

import time
from collections.abc import Mapping
from uuid import UUID, uuid4

from providers.cache.entries import Entry
from providers.cache.memory import memory
from providers.cache.served import Served
from providers.gateway.http import Responder
from providers.gateway.surface import Asked, Surface
from providers.types import ChatRequest

_STAND_IN = uuid4()
"""Random and never shown, so no answer holds it."""
_HEX = _STAND_IN.hex.encode()
_TRACES = (_HEX[:6], _HEX[-6:])
CHUNK_BYTES = 64 * 1024


async def send_hit(
    responder: Responder, served: Served, surface: Surface[Asked], asked: Asked, *, headers: Mapping[str, str]
) -> None:
    """Send an answer from the cache, whole or as a stream."""
    body = _body(served, surface, asked, responder.request_id)
    if not asked.stream:
        await responder.whole(200, body, headers=headers)
        return
    await responder.begin_stream(headers=headers)
    for start in range(0, len(body), CHUNK_BYTES):
        await responder.chunk(body[start : start + CHUNK_BYTES])
    await responder.end_stream()


def hit_headers(served: Served, began: float) -> dict[str, str]:
    """What the headers say of a hit. `began` is `time.perf_counter()` at the start of the request."""
    report, kept = served.job.report, served.entry.kept
    headers = {
        "x-parley-cache": report.cache,
        **report.headers,
        "x-parley-provider": kept.provider,
        "x-parley-model": kept.model,
        "x-parley-overhead-ms": f"{(time.perf_counter() - began) * 1000:.1f}",
    }
    if report.dropped:
        headers["x-parley-dropped"] = ", ".join(report.dropped)
    return headers


def _body(served: Served, surface: Surface[Asked], asked: Asked, request_id: UUID) -> bytes:
    entry = served.entry
    if not served.whole:
        # An API may repeat in its answer what the key ignored.
        return _made(entry, surface, asked, request_id)
    shape = (surface.name, asked.stream, isinstance(asked, ChatRequest) and asked.include_usage)
    if shape not in entry.bodies:
        entry.bodies[shape] = _pieces(_made(entry, surface, asked, _STAND_IN))
        memory().grew(entry, sum(map(len, entry.bodies[shape] or ())))
    pieces = entry.bodies[shape]
    if pieces is None:
        return _made(entry, surface, asked, request_id)
    return request_id.hex.encode().join(pieces)


def _made(entry: Entry, surface: Surface[Asked], asked: Asked, request_id: UUID) -> bytes:
    created = int(entry.kept.created)
    if not asked.stream:
        return surface.answer(entry.kept.answer, asked, request_id=request_id, created=created)
    writer = surface.writer(asked, request_id=request_id, created=created)
    return b"".join(map(writer.write, entry.events()))


def _pieces(body: bytes) -> tuple[bytes, ...] | None:
    """The body around the id; None where an API shows the id in another way, so that it must be made anew each time."""
    pieces = tuple(body.split(_HEX))
    if len(pieces) == 1 or any(trace in piece for piece in pieces for trace in _TRACES):
        return None
    return pieces
