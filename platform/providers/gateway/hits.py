"""Hits, sent as they are: the body of an answer from the cache is made once per API and shape, and kept.

Only the request's id differs from one caller to the next: a body is made with a stand-in for it and split there. It is made
twice, with two of them: where anything else differs between the two, that API's bodies are made anew each time. The time of
creation is that of the answer."""

import time
from collections.abc import Mapping
from uuid import UUID, uuid4

from providers.cache.canonical import UNKEYED
from providers.cache.entries import Entry
from providers.cache.memory import memory
from providers.cache.served import Served
from providers.gateway.http import Responder, dropped_header
from providers.gateway.surface import Asked, Surface

_STAND_INS = (uuid4(), uuid4())
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
        await responder.chunk(body[start : start + CHUNK_BYTES], last=start + CHUNK_BYTES >= len(body))
    await responder.end_stream()


def hit_headers(served: Served, began: float) -> dict[str, str]:
    """What the headers say of a hit. `began` is `time.perf_counter()` at the start of the request."""
    report = served.job.report
    headers = {
        "x-parley-cache": report.cache,
        **report.headers,
        "x-parley-overhead-ms": f"{(time.perf_counter() - began) * 1000:.1f}",
    }
    if report.dropped:
        headers["x-parley-dropped"] = dropped_header(report.dropped)
    return headers


def _body(served: Served, surface: Surface[Asked], asked: Asked, request_id: UUID) -> bytes:
    entry = served.entry
    if surface.says_back or not served.whole:
        # What an API repeats in its answer is the caller's own, and may be what the key ignored.
        return _made(entry, surface, asked, request_id)
    shape = (surface.name, *(name for name in UNKEYED if getattr(asked, name, False)))
    if shape not in entry.bodies:
        one, other = (tuple(_made(entry, surface, asked, id_).split(id_.hex.encode())) for id_ in _STAND_INS)
        entry.bodies[shape] = one if one == other else None
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
