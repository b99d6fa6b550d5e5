"""The secrets of connections, encrypted for the cell they are stored in."""

import uuid

from kernel.crypto import PLATFORM, decrypt, encrypt

_COLUMN = "secret"


def seal(secret: str, *, connection_id: uuid.UUID, tenant_id: uuid.UUID | None) -> bytes:
    """The ciphertext to store. `tenant_id` is None for a connection of the platform."""
    return encrypt(
        secret.encode(), tenant_id=tenant_id or PLATFORM, table=_table(tenant_id), row_id=connection_id, column=_COLUMN
    )


def unseal(ciphertext: bytes | None, *, connection_id: uuid.UUID, tenant_id: uuid.UUID | None) -> str | None:
    """The secret, None where there is none. Raises `kernel.crypto.DecryptionFailed`."""
    if ciphertext is None:
        return None
    return decrypt(
        ciphertext, tenant_id=tenant_id or PLATFORM, table=_table(tenant_id), row_id=connection_id, column=_COLUMN
    ).decode()


def _table(tenant_id: uuid.UUID | None) -> str:
    return "providers_connection" if tenant_id else "providers_platformconnection"
