"""A file's bytes in the storage. Everything here takes time and belongs into a thread."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from django.core.files.base import File as Content

from kernel.objects import object_name, object_storage
from providers.batches.bounds import PIECE_BYTES


def name_of(tenant_id: uuid.UUID, file_id: uuid.UUID) -> str:
    """The name of a file's object."""
    return object_name(tenant_id, "files", file_id)


def put(tenant_id: uuid.UUID, file_id: uuid.UUID, content: IO[bytes]) -> None:
    """Store a file's bytes, from the beginning of `content`, in the place of what there was of it."""
    content.seek(0)
    name = name_of(tenant_id, file_id)
    object_storage().delete(name)
    kept = object_storage().save(name, Content(content, name=name))
    if kept != name:
        # Somebody else stored the same file at the same time.
        object_storage().delete(kept)


def remove(tenant_id: uuid.UUID, file_id: uuid.UUID) -> None:
    """Delete a file's bytes, if there are any."""
    object_storage().delete(name_of(tenant_id, file_id))


@contextmanager
def opened(tenant_id: uuid.UUID, file_id: uuid.UUID) -> Iterator[IO[Any]]:
    """The bytes of a file, to be read. Raises FileNotFoundError."""
    with object_storage().open(name_of(tenant_id, file_id), "rb") as content:
        yield content


def pieces(content: IO[bytes]) -> Iterator[bytes]:
    """What is in an open file, bit by bit."""
    while piece := content.read(PIECE_BYTES):
        yield piece
