"""Notices as e-mails: one to each of the audience, where the operator set a mail server."""

import asyncio
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, formataddr, parseaddr
from typing import Any

import msgspec
import structlog
from django.conf import settings
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.encoding import punycode

from kernel import adb, outbox
from kernel.ids import uuid7
from kernel.objects import object_storage
from tenants.notifications.inbox import NoticePayload, audience_of, notice_of
from tenants.notifications.smtp import server

log = structlog.get_logger(__name__)

TOPIC = "tenants.mail"
SCHEDULE = outbox.Schedule((30, 60, 300, 900, 1800, *[3600] * 22))
"""About a day."""
AT_ONCE = 8
RECIPIENTS_MAX = 1_000
ATTACHMENTS_BYTES_MAX = 10 * 1024 * 1024

_QUERY = """
    SELECT n.subject, n.text, n.html, n.link, n.attachments, t.name AS tenant, p.email, p.name
    FROM tenants_notice n
    JOIN tenants_tenant t ON t.id = n.tenant_id
    LEFT JOIN tenants_membership m ON m.id = %s AND m.status = 'active'
    LEFT JOIN tenants_person p ON p.id = m.person_id AND p.is_active
    WHERE n.id = %s
"""


class MailPayload(NoticePayload, frozen=True):
    """A notice for one of its audience: a member, or an address."""

    membership_id: uuid.UUID | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    """What an e-mail says."""

    to: str
    subject: str
    text: str
    tenant: str
    html: str = ""
    link: str = ""
    reason: str = ""
    attachments: tuple[tuple[str, str, bytes], ...] = ()
    """File name, media type, bytes."""


def mail_notice(message: outbox.Message) -> None:
    """Consumer: hand the notice to each of its audience, as messages of their own. Nothing without a mail server."""
    notice = notice_of(message) if settings.SMTP_HOST else None
    if notice is None:
        return
    members = audience_of(notice).values_list("id", "person__email")[: RECIPIENTS_MAX + 1]
    recipients: dict[str, dict[str, str]] = {
        email.lower(): {"membership_id": str(member)} for member, email in members[:RECIPIENTS_MAX]
    }
    if len(members) > RECIPIENTS_MAX:
        log.warning("notice_mailed_to_some", notice_id=str(notice.id), recipients=RECIPIENTS_MAX)
    for address in notice.addresses:
        recipients.setdefault(address.lower(), {"address": address})
    for key, whom in recipients.items():
        payload = {"notice_id": str(notice.id), **whom}
        outbox.send(topic=TOPIC, payload=payload, once_key=uuid.uuid5(notice.id, key).hex)


async def send_mail(message: outbox.Message) -> None:
    """Sender: one e-mail. Whoever left meanwhile gets none."""
    if not settings.SMTP_HOST:
        return
    payload = msgspec.convert(message.payload, MailPayload)
    async with adb.transaction(message.tenant_id) as opened:
        row = await (await opened.execute(_QUERY, (payload.membership_id, payload.notice_id))).fetchone()
    if row is None or not (payload.address or row["email"]):
        return
    files = await asyncio.to_thread(lambda: tuple(_read(row["attachments"])))
    mail = Mail(
        to=_ascii(payload.address) if payload.address else formataddr((_printable(row["name"]), _ascii(row["email"]))),
        subject=row["subject"],
        text=row["text"],
        tenant=row["tenant"],
        html=row["html"],
        link=settings.PUBLIC_URL + row["link"] if row["link"] and settings.PUBLIC_URL else "",
        reason="you get this because of your role or place there." if row["email"] else "this address is set there.",
        attachments=files,
    )
    await server.send(compose(mail, message_id=message.id))


def compose(mail: Mail, *, message_id: uuid.UUID) -> EmailMessage:
    """The e-mail, in text and HTML. Sent again it has the same Message-ID, by which it is known for the same."""
    context = {
        "subject": mail.subject,
        "text": mail.text,
        "html": mail.html,
        "link": mail.link,
        "tenant": mail.tenant,
        "reason": mail.reason,
    }
    composed = EmailMessage()
    composed["Subject"] = mail.subject
    composed["From"] = settings.SMTP_FROM
    composed["To"] = mail.to
    composed["Date"] = format_datetime(timezone.now())
    composed["Message-ID"] = f"<{message_id}@{parseaddr(settings.SMTP_FROM)[1].rpartition('@')[2]}>"
    composed["Auto-Submitted"] = "auto-generated"
    composed.set_content(render_to_string("tenants/mail/notice.txt", context))
    composed.add_alternative(render_to_string("tenants/mail/notice.html", context), subtype="html")
    for filename, media_type, body in mail.attachments:
        kind, _, subtype = media_type.partition("/")
        composed.add_attachment(body, maintype=kind, subtype=subtype, filename=filename)
    return composed


async def send_test(*, address: str) -> None:
    """Send an e-mail that says that it arrived. Raises what `Server.send` raises."""
    text = "This is a test. If you read it, Parley can send e-mail."
    mail = Mail(to=_ascii(address), subject="A test from Parley", text=text, tenant="Parley", link=settings.PUBLIC_URL)
    await server.send(compose(mail, message_id=uuid7()))


def _read(attachments: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, bytes]]:
    """The files that are there, as long as they fit."""
    left = ATTACHMENTS_BYTES_MAX
    for one in attachments:
        try:
            with object_storage().open(one["object_name"]) as file:
                body = file.read(left + 1)
        except OSError as error:
            log.warning("attachment_missing", filename=one["filename"], problem=type(error).__name__)
            continue
        if len(body) > left:
            log.warning("attachment_too_large", filename=one["filename"])
            continue
        left -= len(body)
        yield one["filename"], one["media_type"], body


def _ascii(address: str) -> str:
    """The address as every mail server takes it, its domain in ASCII (RFC 5891). Raises `GiveUp` for one that can't be: few
    servers know SMTPUTF8."""
    local, _, domain = address.rpartition("@")
    try:
        written = f"{local}@{punycode(domain)}"
        written.encode("ascii")
    except UnicodeError as error:
        raise outbox.GiveUp("the address can't be written in ASCII") from error
    return written


def _printable(name: str) -> str:
    return "".join(character for character in name if character.isprintable())
