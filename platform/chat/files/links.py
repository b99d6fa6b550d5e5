"""Links to downloads: for five minutes, for one member, for one thing. Who has one needs no other credential; it holds only
as long as the member may see the thing.

A token is `{tenant, member, key, what, id, as, until}` with an HMAC-SHA-256 over it, by a key of the tenant's: URL-safe base64.
"""

import base64
import binascii
import hashlib
import hmac
import struct
import time
import uuid
from enum import IntEnum

import msgspec

from chat.files.bounds import LINK_S
from kernel.crypto import derive
from tenants.epochs import Subject
from tenants.principals import Principal

_FORM = 1
_BODY = struct.Struct(">B16s16s16sB16sBQ")
_NO_KEY = uuid.UUID(int=0)
TOKEN_CHARS_MAX = 200


class What(IntEnum):
    """What a link is to."""

    ATTACHMENT = 1
    EXPORT = 2


class As(IntEnum):
    """How it is shown."""

    DOWNLOAD = 1
    IMAGE = 2
    PREVIEW = 3


class Link(msgspec.Struct, frozen=True):
    """What a token says; `until` is in Unix seconds."""

    subject: Subject
    what: What
    id: uuid.UUID
    shown: As
    until: int


def sign(member: Principal, *, what: What, id_: uuid.UUID, shown: As = As.DOWNLOAD) -> tuple[str, int]:
    """A token for the member, or the key that acts for them, and until when it holds."""
    until = int(time.time()) + LINK_S
    key = (member.api_key_id or _NO_KEY).bytes
    body = _BODY.pack(_FORM, member.tenant_id.bytes, member.membership_id.bytes, key, what, id_.bytes, shown, until)
    return base64.urlsafe_b64encode(body + _mac(member.tenant_id, body)).decode().rstrip("="), until


def read(token: str) -> Link | None:
    """What a token says; None for one that is none, or whose time is over."""
    if len(token) > TOKEN_CHARS_MAX or not token.isascii():
        return None
    try:
        given = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        form, tenant, member, key, what, id_, shown, until = _BODY.unpack(given[: _BODY.size])
        tenant_id = uuid.UUID(bytes=tenant)
        if form != _FORM or not hmac.compare_digest(given[_BODY.size :], _mac(tenant_id, given[: _BODY.size])):
            return None
        key_id = uuid.UUID(bytes=key)
        subject = Subject(
            tenant_id=tenant_id,
            membership_id=uuid.UUID(bytes=member),
            api_key_id=None if key_id == _NO_KEY else key_id,
        )
        link = Link(subject, What(what), uuid.UUID(bytes=id_), As(shown), until)
    except (binascii.Error, struct.error, ValueError):
        return None
    return link if time.time() < link.until <= time.time() + LINK_S + 1 else None


def _mac(tenant_id: uuid.UUID, body: bytes) -> bytes:
    return hmac.new(derive("download links", tenant_id=tenant_id), body, hashlib.sha256).digest()
