"""Encryption of single fields: AES-256-GCM, bound to the very cell it is stored in.

The associated data names tenant, table, row and column, so a ciphertext copied to another cell, or another tenant's row,
does not decrypt. A ciphertext begins with its key's version; `PARLEY_MASTER_KEY` may hold several keys, and the newest
encrypts. Layout: 1 byte format (1), 2 bytes key version, 12 bytes nonce (random), ciphertext and 16-byte tag
(NIST SP 800-38D). Field keys are derived from the master key with HKDF-SHA-256 (RFC 5869) per purpose.
"""

import base64
import os
import struct
import uuid
from collections.abc import Mapping
from functools import cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

_FORMAT = 1
_HEADER = struct.Struct(">BH")
_NONCE_BYTES = 12
PLATFORM = uuid.UUID(int=0)
"""Stands for the tenant in platform-wide tables."""


class DecryptionFailed(RuntimeError):
    """The ciphertext is damaged, belongs to another cell, or its key version is not configured."""


def parse_master_keys(text: str) -> dict[int, bytes]:
    """Keys by version from `base64` (version 1) or `1:base64,2:base64`. Each is 32 bytes. Raises ValueError."""
    keys: dict[int, bytes] = {}
    for position, item in enumerate(filter(None, (part.strip() for part in text.split(","))), start=1):
        head, colon, tail = item.partition(":")
        version, encoded = (int(head), tail) if colon else (position, head)
        key = base64.b64decode(encoded, validate=True)
        if len(key) != 32:
            raise ValueError("a master key is 32 bytes, base64-encoded")
        if not 0 < version < 65536 or version in keys:
            raise ValueError("key versions are distinct whole numbers from 1 to 65535")
        keys[version] = key
    if not keys:
        raise ValueError("there is no key")
    return keys


def encrypt(plaintext: bytes, *, tenant_id: uuid.UUID, table: str, row_id: uuid.UUID, column: str) -> bytes:
    """Encrypt for one cell with the newest key. `tenant_id` is `PLATFORM` in platform-wide tables."""
    version = max(_keys())
    nonce = os.urandom(_NONCE_BYTES)
    header = _HEADER.pack(_FORMAT, version)
    bound = header + _cell(tenant_id, table, row_id, column)
    return header + nonce + _cipher(version).encrypt(nonce, plaintext, bound)


def decrypt(ciphertext: bytes, *, tenant_id: uuid.UUID, table: str, row_id: uuid.UUID, column: str) -> bytes:
    """The plaintext of one cell. Raises `DecryptionFailed`."""
    header = bytes(ciphertext[: _HEADER.size])
    nonce = bytes(ciphertext[_HEADER.size : _HEADER.size + _NONCE_BYTES])
    try:
        form, version = _HEADER.unpack(header)
        if form != _FORMAT or version not in _keys():
            raise DecryptionFailed("unknown format or key version")
        bound = header + _cell(tenant_id, table, row_id, column)
        return _cipher(version).decrypt(nonce, bytes(ciphertext[_HEADER.size + _NONCE_BYTES :]), bound)
    except (struct.error, InvalidTag, ValueError) as error:
        raise DecryptionFailed("the ciphertext does not belong here") from error


def derive(purpose: str, *, tenant_id: uuid.UUID) -> bytes:
    """32 bytes that only this installation knows, for one purpose and tenant. They change with the newest master key."""
    info = b"parley " + purpose.encode() + b"\x00" + tenant_id.bytes
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(_keys()[max(_keys())])


def _cell(tenant_id: uuid.UUID, table: str, row_id: uuid.UUID, column: str) -> bytes:
    return b"\x00".join((tenant_id.bytes, table.encode(), row_id.bytes, column.encode()))


def _keys() -> Mapping[int, bytes]:
    return _parsed(settings.PARLEY_MASTER_KEY)


@cache
def _parsed(text: str) -> Mapping[int, bytes]:
    return parse_master_keys(text)


def _cipher(version: int) -> AESGCM:
    return _derived(_keys()[version])


@cache
def _derived(master: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=b"parley field encryption v1").derive(master))
