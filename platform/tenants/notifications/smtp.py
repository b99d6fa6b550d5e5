"""Handing e-mails to the operator's mail server (RFC 5321), one at a time, off the event loop.

A server that doesn't answer is let be for `PAUSE_S`: what should be sent meanwhile waits in the outbox, and no thread waits
for the server.
"""

import asyncio
import smtplib
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from functools import cache

from django.conf import settings

from kernel.outbox import Failed, GiveUp, Later

PAUSE_S = 30.0
TOO_LARGE = 552
"""RFC 1870: the message is larger than the server takes."""


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="mail")


class Server:
    """The mail server that the settings name."""

    def __init__(self) -> None:
        self._away_until = 0.0

    async def send(self, message: EmailMessage) -> None:
        """Hand a message over. Raises `Later` while the server is away, `GiveUp` for what it refuses for good and `Failed` for
        anything else."""
        self._check_present()
        await asyncio.get_running_loop().run_in_executor(_thread(), self._send, message)

    def _check_present(self) -> None:
        left_s = self._away_until - time.monotonic()
        if left_s > 0:
            raise Later(after_s=left_s + 1)

    def _send(self, message: EmailMessage) -> None:
        # It may have gone away while this waited for its turn.
        self._check_present()
        try:
            with _connected() as server:
                try:
                    server.send_message(message)
                except smtplib.SMTPRecipientsRefused as error:
                    code = max(code for code, _ in error.recipients.values())
                    raise _refused("recipient", code) from error
                except smtplib.SMTPDataError as error:
                    raise _refused("message", error.smtp_code) from error
        except smtplib.SMTPAuthenticationError as error:
            raise self._away(f"the mail server refuses SMTP_USER ({error.smtp_code})") from error
        except smtplib.SMTPSenderRefused as error:
            if error.smtp_code == TOO_LARGE:
                # Said before the message comes, by a server that was told its size.
                raise _refused("message", error.smtp_code) from error
            raise self._away(f"the mail server refuses SMTP_FROM ({error.smtp_code})") from error
        except ssl.SSLError as error:
            raise self._away("the mail server's TLS fails") from error
        except (OSError, smtplib.SMTPException) as error:
            raise self._away(f"the mail server can't be used: {type(error).__name__}") from error

    def _away(self, reason: str) -> Failed:
        self._away_until = time.monotonic() + PAUSE_S
        return Failed(reason)

    def forget(self) -> None:
        """Ask the server again, away or not."""
        self._away_until = 0.0


server = Server()


def _connected() -> smtplib.SMTP:
    """A session, logged in. With TLS the server's certificate is checked."""
    where = (str(settings.SMTP_HOST), int(settings.SMTP_PORT))
    if settings.SMTP_TLS == "tls":
        opened: smtplib.SMTP = smtplib.SMTP_SSL(
            *where, timeout=settings.SMTP_TIMEOUT_S, context=ssl.create_default_context()
        )
    else:
        opened = smtplib.SMTP(*where, timeout=settings.SMTP_TIMEOUT_S)
    try:
        if settings.SMTP_TLS == "starttls":
            opened.starttls(context=ssl.create_default_context())
        if settings.SMTP_USER:
            opened.login(settings.SMTP_USER, settings.SMTP_PASSWORD)
    except BaseException:
        opened.close()
        raise
    return opened


def _refused(what: str, code: int) -> Failed:
    kind = GiveUp if 500 <= code < 600 else Failed
    return kind(f"the mail server refuses the {what} ({code})")
