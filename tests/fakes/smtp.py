"""A mail server over real SMTP (RFC 5321, STARTTLS by RFC 3207, AUTH PLAIN by RFC 4954), which misbehaves when told to.

`with MailServer() as mail:` listens on a free port of loopback, in a thread; `mail.received` is what it took.
"""

import asyncio
import base64
import contextlib
import ssl
import threading
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Self


@dataclass(frozen=True, slots=True)
class Received:
    """An e-mail that was taken, and its envelope."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    over_tls: bool
    user: str | None


class MailServer:
    """`refusals` answer a verb (`RCPT`, `MAIL`, `DATA`, `AUTH`, `BODY` for the text itself) by a line, once for each in the
    list; `hangs` says nothing at all; `knows_utf8` is whether it has SMTPUTF8; `tls` is the server's context, for STARTTLS, or
    at once with `tls_at_once`."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        tls_at_once: bool = False,
        login: tuple[str, str] | None = None,
        port: int = 0,
    ) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self.refusals: dict[str, list[str]] = {}
        self.hangs = False
        self.knows_utf8 = True
        self.port = port
        self._tls = tls
        self._tls_at_once = tls_at_once
        self._login = login
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="MailServer", daemon=True)
        self._started = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(10):
            raise RuntimeError("the mail server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        at_once = self._tls if self._tls_at_once else None
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=at_once)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        # What is still being served is cancelled with the loop.
        await self._stop.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            if self.hangs:
                await asyncio.Event().wait()
            await _Session(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            return
        finally:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


class _Session:
    def __init__(self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.over_tls = server._tls_at_once
        self.user: str | None = None
        self.sender = ""
        self.recipients: list[str] = []

    async def say(self, line: str) -> None:
        self.writer.write(f"{line}\r\n".encode())
        await self.writer.drain()

    def refusal(self, verb: str) -> str | None:
        waiting = self.server.refusals.get(verb)
        return waiting.pop(0) if waiting else None

    async def run(self) -> None:
        await self.say("220 mail.test ESMTP")
        while line := (await self.reader.readline()).decode().rstrip("\r\n"):
            verb = line.split(" ")[0].upper()
            if (refused := self.refusal(verb)) is not None:
                await self.say(refused)
            elif verb == "QUIT":
                await self.say("221 bye")
                return
            else:
                await self.answer(verb, line)

    async def answer(self, verb: str, line: str) -> None:
        match verb:
            case "EHLO":
                extensions = ["mail.test", "8BITMIME"]
                if self.server.knows_utf8:
                    extensions.append("SMTPUTF8")
                if self.server._tls and not self.over_tls:
                    extensions.append("STARTTLS")
                if self.server._login:
                    extensions.append("AUTH PLAIN")
                for word in extensions[:-1]:
                    await self.say(f"250-{word}")
                await self.say(f"250 {extensions[-1]}")
            case "STARTTLS" if self.server._tls:
                await self.say("220 go on")
                await self.writer.start_tls(self.server._tls)
                self.over_tls = True
            case "AUTH" if self.server._login:
                _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\x00")
                taken = (user, password) == self.server._login
                self.user = user if taken else None
                await self.say("235 welcome" if taken else "535 no")
            case "MAIL":
                self.sender = line.partition("<")[2].partition(">")[0]
                await self.say("250 ok" if self.user or not self.server._login else "530 who are you")
            case "RCPT":
                self.recipients.append(line.partition("<")[2].partition(">")[0])
                await self.say("250 ok")
            case "RSET":
                self.recipients.clear()
                await self.say("250 ok")
            case "DATA":
                await self.take()
            case _:
                await self.say("502 what")

    async def take(self) -> None:
        await self.say("354 go on")
        text = await self.reader.readuntil(b"\r\n.\r\n")
        if (refused := self.refusal("BODY")) is not None:
            await self.say(refused)
            return
        body = text[:-3].replace(b"\r\n..", b"\r\n.")
        parsed = message_from_bytes(body, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        self.server.received.append(Received(self.sender, tuple(self.recipients), parsed, self.over_tls, self.user))
        self.recipients.clear()
        await self.say("250 taken")
