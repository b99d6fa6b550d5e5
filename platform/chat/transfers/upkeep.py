"""Exports and imports whose time is over, whosever they are: their files, then they."""

import uuid

from chat.transfers.store import object_of
from kernel.expiry import delete_expired_objects
from kernel.objects import remove_object


def delete_expired_transfers() -> int:
    """Delete transfers. How many."""
    return delete_expired_objects("chat_transfer", _remove)


def _remove(tenant_id: uuid.UUID, transfer_id: uuid.UUID) -> None:
    remove_object(object_of(tenant_id, transfer_id))
