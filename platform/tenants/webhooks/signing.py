"""Signatures of the Standard Webhooks convention (https://www.standardwebhooks.com): HMAC-SHA-256 over id, time and body.

A secret is 32 random bytes, shown as `whsec_` and base64, and kept encrypted for its cell.
"""

import base64
import hashlib
import hmac
import os
import uuid
from collections.abc import Sequence

from kernel.crypto import decrypt, encrypt

PREFIX = "whsec_"
SECRET_BYTES = 32
_TABLE = "tenants_webhookendpoint"


def new_secret() -> bytes:
    """A new secret's bytes."""
    return os.urandom(SECRET_BYTES)


def shown(secret: bytes) -> str:
    """How a secret is shown, once."""
    return PREFIX + base64.b64encode(secret).decode()


def seal(secret: bytes, *, tenant_id: uuid.UUID, endpoint_id: uuid.UUID, column: str) -> bytes:
    """The ciphertext to store in that column."""
    return encrypt(secret, tenant_id=tenant_id, table=_TABLE, row_id=endpoint_id, column=column)


def unseal(ciphertext: bytes, *, tenant_id: uuid.UUID, endpoint_id: uuid.UUID, column: str) -> bytes:
    """The secret's bytes. Raises `kernel.crypto.DecryptionFailed`."""
    return decrypt(ciphertext, tenant_id=tenant_id, table=_TABLE, row_id=endpoint_id, column=column)


def headers(*, event_id: uuid.UUID, at_s: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """What signs a request: a signature by each secret, for receivers that know one of them. `at_s` is Unix time."""
    message_id = f"msg_{event_id.hex}"
    signed = f"{message_id}.{at_s}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
