"""Write down what is to be told, in the transaction in which it happens."""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from django.db import connection
from psycopg.types.json import Jsonb

from kernel import outbox
from kernel.ids import uuid7
from kernel.tenancy import tenant_scope
from tenants.notifications.event_types import EVENT_TYPES
from tenants.notifications.models import LINK_CHARS_MAX, ONCE_KEY_CHARS_MAX, SUBJECT_CHARS_MAX
from tenants.permissions import PERMISSIONS

TOPIC = "tenants.notice"
TEXT_CHARS_MAX = 20_000
HTML_CHARS_MAX = 200_000
DATA_BYTES_MAX = 16 * 1024
NAMED_MAX = 1_000
ATTACHMENTS_MAX = 5

_INSERT = """
    INSERT INTO tenants_notice
        (id, tenant_id, topic, once_key, permission, memberships, addresses, subject, text, html, link, data, attachments)
    VALUES (%s, %s, %s, %s, %s, %s::uuid[], %s::text[], %s, %s, %s, %s, %s, %s)
    ON CONFLICT (tenant_id, once_key) DO NOTHING RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is told: every active member who has `permission` by then, these `memberships` while they are active, and, by e-mail
    alone, these `addresses`. Empty: endpoints are told, and nobody else."""

    permission: str = ""
    memberships: tuple[uuid.UUID, ...] = ()
    addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.permission and self.permission not in PERMISSIONS:
            raise LookupError(f"there is no permission {self.permission}")
        if max(len(self.memberships), len(self.addresses)) > NAMED_MAX:
            raise ValueError(f"audience: at most {NAMED_MAX} members and addresses by name")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of the e-mail. `object_name` is where it lies in the storage of files (`kernel.objects`), below the tenant's own
    name; one that is gone by then is left out."""

    filename: str
    media_type: str
    object_name: str


def notify(
    *,
    tenant_id: uuid.UUID,
    topic: str,
    once_key: str,
    audience: Audience,
    subject: str,
    text: str,
    html: str = "",
    link: str = "",
    data: Mapping[str, object] | None = None,
    attachments: tuple[Attachment, ...] = (),
) -> uuid.UUID | None:
    """Have a tenant's people and programs told of an event of type `topic`, once this transaction has committed. The notice's
    id, or None where this `once_key` of the tenant's has been told (they are kept for 400 days).

    `subject` is one line: what isn't printable in it becomes a space, what is too long is cut off. `text` is plain, in
    paragraphs; `html` the body's inner part, from a template that escapes; `link` a path of the browser app, such as
    `/console/usage`; `data` is for endpoints: JSON, without secrets.

    Raises `LookupError` for an event type or permission that isn't, and `ValueError` for what doesn't fit: bugs of the
    caller.
    """
    if topic not in EVENT_TYPES:
        raise LookupError(f"no app has the event type {topic}")
    _check_text("once_key", once_key, ONCE_KEY_CHARS_MAX)
    _check_text("text", text, TEXT_CHARS_MAX)
    subject = _one_line(subject)
    if len(html) > HTML_CHARS_MAX:
        raise ValueError(f"html: at most {HTML_CHARS_MAX} characters")
    if link and (not link.startswith("/") or link.startswith("//") or len(link) > LINK_CHARS_MAX):
        raise ValueError("link: a path of the browser app")
    if len(attachments) > ATTACHMENTS_MAX or any(
        not one.object_name.startswith(f"{tenant_id}/") for one in attachments
    ):
        raise ValueError(f"attachments: at most {ATTACHMENTS_MAX}, of the tenant's own objects")
    encoded = msgspec.json.encode(data or {})
    if len(encoded) > DATA_BYTES_MAX:
        raise ValueError(f"data: at most {DATA_BYTES_MAX} bytes")
    values: tuple[Any, ...] = (
        *(uuid7(), tenant_id, topic, once_key, audience.permission),
        *(list(audience.memberships), list(audience.addresses), subject, text, html, link),
        *(Jsonb(msgspec.json.decode(encoded)), Jsonb([asdict(one) for one in attachments])),
    )
    with tenant_scope(tenant_id):
        with connection.cursor() as cursor:
            cursor.execute(_INSERT, values)
            row = cursor.fetchone()
        if row is None:
            return None
        outbox.send(topic=TOPIC, payload={"notice_id": str(row[0])})
    notice_id: uuid.UUID = row[0]
    return notice_id


def _one_line(subject: str) -> str:
    """The subject within its bounds, whatever the names in it are that people chose."""
    line = "".join(letter if letter.isprintable() else " " for letter in subject).strip()
    if not line:
        raise ValueError("subject: printable characters are needed")
    return line if len(line) <= SUBJECT_CHARS_MAX else line[: SUBJECT_CHARS_MAX - 1] + "…"


def _check_text(name: str, value: str, most: int) -> None:
    if not 0 < len(value) <= most or "\x00" in value:
        raise ValueError(f"{name}: 1 to {most} characters")
