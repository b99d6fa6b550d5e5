"""A file's bytes in the storage: what was kept of it, and what was made of it."""

import uuid

from kernel.objects import object_name, remove_object

PARTS = ("content", "model", "preview", "text")
"""The file itself; what models see of an image, and what lists show of one; what a PDF says."""


def name_of(tenant_id: uuid.UUID, attachment_id: uuid.UUID, part: str) -> str:
    """The name of one of a file's objects."""
    return object_name(tenant_id, "attachments", attachment_id, part)


def remove_all(tenant_id: uuid.UUID, attachment_id: uuid.UUID) -> None:
    """Delete all of a file's objects. Belongs into a thread."""
    for part in PARTS:
        remove_object(name_of(tenant_id, attachment_id, part))
