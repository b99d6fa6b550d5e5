"""What may be sent to Django, decided before it is read: Django's ASGI handler puts a whole body on disk first.

A body is as large as its path allows, by its declared length at once, and by its true one while it comes. Uploads, which may
be large, are only taken from callers whose credential holds, so many at a time, and not for ever.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec
import structlog
from django.conf import settings

from kernel.errors import InvalidRequest, NotAuthenticated, ParleyError, PayloadTooLarge, Unavailable, envelope
from kernel.ids import uuid7
from kernel.net import client_address
from kernel.per_loop import PerLoop
from tenants.credentials import authenticate

log = structlog.get_logger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

_MAX_DIGITS = 15
_uploads = PerLoop(lambda: asyncio.Semaphore(settings.UPLOADS_AT_ONCE))


class Bodies:
    """Django's application behind these bounds. `uploads` are the paths that take more than JSON, with the bytes that a body
    may have there."""

    def __init__(self, app: App, *, uploads: Mapping[str, int]) -> None:
        self._app = app
        self._uploads = uploads

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """One request. What is refused here is answered in the envelope of all errors."""
        headers = {name.lower(): value for name, value in scope["headers"]}
        most = self._uploads.get(scope["path"]) if scope["method"] == "POST" else None
        try:
            if most is None:
                await self._bounded(scope, receive, send, most=settings.DATA_UPLOAD_MAX_MEMORY_SIZE, headers=headers)
            else:
                await self._upload(scope, receive, send, most=most, headers=headers)
        except ParleyError as error:
            await _refuse(send, error)

    async def _upload(
        self, scope: Any, receive: Receive, send: Send, *, most: int, headers: Mapping[bytes, bytes]
    ) -> None:
        scheme, _, credential = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not credential.strip():
            raise NotAuthenticated
        peer = (scope.get("client") or ("", 0))[0]
        forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        await authenticate(credential.strip(), address=client_address(peer, forwarded, settings.TRUSTED_PROXIES))
        uploads = _uploads()
        if uploads.locked():
            raise Unavailable("Too many files are being uploaded. Try again.")
        async with uploads:
            await self._bounded(scope, receive, send, most=most, headers=headers, patient=False)

    async def _bounded(
        self,
        scope: Any,
        receive: Receive,
        send: Send,
        *,
        most: int,
        headers: Mapping[bytes, bytes],
        patient: bool = True,
    ) -> None:
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit():
            raise InvalidRequest("The Content-Length header is not a number.")
        if len(declared) > _MAX_DIGITS or int(declared) > most:
            raise _too_large(most)
        body = _Body(receive, most=most, patient=patient)
        answering = False

        async def answer(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        await self._app(scope, body.receive, answer)
        if body.refusal is not None and not answering:
            raise body.refusal


class _Body:
    """A body as it comes. One that is too large, or of which nothing more comes, ends for Django like one whose sender left."""

    def __init__(self, receive: Receive, *, most: int, patient: bool) -> None:
        self._receive = receive
        self._most = most
        self._patient = patient
        self._size = 0
        self._whole = False
        self._until = asyncio.get_running_loop().time() + settings.UPLOAD_MAX_S
        self.refusal: ParleyError | None = None

    async def receive(self) -> Message:
        """The next message to Django."""
        if self._whole or self._patient:
            message = await self._receive()
        else:
            left = min(settings.UPLOAD_WAIT_S, self._until - asyncio.get_running_loop().time())
            try:
                async with asyncio.timeout(max(0.0, left)):
                    message = await self._receive()
            except TimeoutError:
                self.refusal = InvalidRequest("The body comes too slowly.")
                return {"type": "http.disconnect"}
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._size > self._most:
                self.refusal = _too_large(self._most)
                return {"type": "http.disconnect"}
        return message


async def _refuse(send: Send, error: ParleyError) -> None:
    request_id = str(uuid7())
    log.info("body_refused", code=error.code, request_id=request_id)
    body = msgspec.json.encode(envelope(error, request_id=request_id))
    # What comes of the body still isn't read: the connection ends with the answer.
    given = {"content-type": "application/json", "x-request-id": request_id, "connection": "close", **error.headers}
    headers = [(name.lower().encode(), value.encode()) for name, value in given.items()]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _too_large(most: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body may have at most {most} bytes.", details={"bytes_max": most})
