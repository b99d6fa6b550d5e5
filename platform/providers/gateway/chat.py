"""`POST /v1/chat/completions`, plain and streaming."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from kernel.errors import ParleyError
from providers.adapters.openai.answer_out import PING, StreamWriter, encode_answer
from providers.adapters.openai.request_in import parse_chat_request
from providers.gateway.http import ClientGone, Request, Responder
from providers.pipeline.accept import accept
from providers.pipeline.pump import Pump
from providers.pipeline.pumps import pumps
from providers.pipeline.record import record_result
from providers.types import StreamEvent
from tenants.principals import Principal

PING_AFTER_S = 15.0


async def create_chat_completion(request: Request, responder: Responder, principal: Principal) -> None:
    """Run one completion and answer it. A client that leaves ends it; what was used is still recorded."""
    began = time.perf_counter()
    asked = parse_chat_request(await request.body())
    job = await accept(principal=principal, request=asked, request_id=request.id)
    pump = pumps.start(job=job, settle=record_result, on_disconnect="stop")
    created = int(time.time())
    async with _noticing_disconnect(request, responder, pump):
        if asked.stream:
            writer = StreamWriter(
                answer_id=_answer_id(request),
                created=created,
                model=asked.model,
                include_usage=asked.include_usage,
            )
            await _stream(responder, pump, writer, began)
            return
        answer = await pump.answer()
        body = encode_answer(answer, answer_id=_answer_id(request), created=created, model=asked.model)
        await responder.whole(200, body, headers=_headers(pump, began))


async def _stream(responder: Responder, pump: Pump, writer: StreamWriter, began: float) -> None:
    """Nothing is sent before the first event, so what fails before it is answered with its own status."""
    events = pump.events()
    first = await anext(events, None)
    await responder.begin_stream(headers=_headers(pump, began))
    async with _pinging(responder):
        try:
            if first is not None:
                await _write(responder, writer, first)
            async for event in events:
                await _write(responder, writer, event)
        except ParleyError as error:
            await responder.chunk(writer.error(error))
    await responder.end_stream()


async def _write(responder: Responder, writer: StreamWriter, event: StreamEvent) -> None:
    if frames := writer.write(event):
        await responder.chunk(frames)


@asynccontextmanager
async def _noticing_disconnect(request: Request, responder: Responder, pump: Pump) -> AsyncIterator[None]:
    """Tell the pump as soon as the client is gone. Raises `ClientGone` in place of what follows from that."""
    gone = False

    async def watch() -> None:
        nonlocal gone
        await request.wait_for_disconnect()
        # Servers also say so when the answer is whole.
        gone = not responder.finished
        pump.disconnect()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except (ParleyError, OSError):
        if gone:
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
        # Also when the server cancels this request: the pump must not wait for a reader that won't come.
        pump.disconnect()
    if gone and not responder.finished:
        raise ClientGone


@asynccontextmanager
async def _pinging(responder: Responder) -> AsyncIterator[None]:
    """Send a comment whenever nothing was sent for `PING_AFTER_S`, so that proxies keep the connection open."""

    async def ping() -> None:
        while True:
            quiet_s = time.monotonic() - responder.last_sent_at
            if quiet_s >= PING_AFTER_S:
                await responder.chunk(PING)
                quiet_s = 0.0
            await asyncio.sleep(PING_AFTER_S - quiet_s)

    pinger = asyncio.create_task(ping())
    try:
        yield
    finally:
        pinger.cancel()
        with suppress(asyncio.CancelledError, OSError):
            await pinger


def _headers(pump: Pump, began: float) -> dict[str, str]:
    """What the answer's headers say of how it was made."""
    serving = pump.serving()
    if serving is None:
        return {}
    candidate, upstream_s = serving
    overhead_ms = max(0.0, (time.perf_counter() - began - upstream_s) * 1000)
    return {
        "x-parley-provider": candidate.target.provider,
        "x-parley-model": candidate.target.model,
        "x-parley-overhead-ms": f"{overhead_ms:.1f}",
    }


def _answer_id(request: Request) -> str:
    return f"chatcmpl-{request.id.hex}"
