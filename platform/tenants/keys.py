"""The form of an API key: `sk-parley-<id>_<secret><crc>`.

`id` (12 characters) is public and finds the row; `secret` (32 characters, 190 bits) is what only the owner has; `crc` (6
characters) is CRC-32 of all before it, so that a mistyped key is refused without a look-up and leaked ones can be found
by scanners. All in base 62. Stored is HMAC-SHA-256 of the whole key under a pepper that the database doesn't hold.
"""

import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

from django.conf import settings

PREFIX = "sk-parley-"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_CHARS, _SECRET_CHARS, _CRC_CHARS = 12, 32, 6
_FORM = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{_ID_CHARS}}})_[0-9A-Za-z]{{{_SECRET_CHARS + _CRC_CHARS}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made: what to store, and the text to show once."""

    lookup_id: str
    digest: bytes
    hint: str
    text: str = field(repr=False)


def make_key() -> NewKey:
    """A new random key."""
    lookup_id = _random(_ID_CHARS)
    body = f"{PREFIX}{lookup_id}_{_random(_SECRET_CHARS)}"
    text = body + _crc(body)
    return NewKey(lookup_id=lookup_id, digest=digest(text), hint=text[-4:], text=text)


def lookup_id(text: str) -> str | None:
    """The public id within a well-formed key, else None."""
    match = _FORM.fullmatch(text)
    if match is None or not hmac.compare_digest(_crc(text[:-_CRC_CHARS]), text[-_CRC_CHARS:]):
        return None
    return match[1]


def digest(text: str) -> bytes:
    """What is stored of a key: 32 bytes."""
    return hmac.digest(settings.PARLEY_KEY_PEPPER.encode(), text.encode(), "sha256")


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _crc(text: str) -> str:
    value = zlib.crc32(text.encode())
    digits = []
    for _ in range(_CRC_CHARS):
        value, rest = divmod(value, 62)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))
