"""A file's bytes in the storage. Everything here takes time and belongs into a thread."""

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import IO, Any

from kernel.objects import PIECE_BYTES, object_name, opened_object, put_object, remove_object


def name_of(tenant_id: uuid.UUID, file_id: uuid.UUID) -> str:
    """The name of a file's object."""
    return object_name(tenant_id, "files", file_id)


def put(tenant_id: uuid.UUID, file_id: uuid.UUID, content: IO[bytes]) -> None:
    """Store a file's bytes, from the beginning of `content`, in the place of what there was of it."""
    put_object(name_of(tenant_id, file_id), content)


def remove(tenant_id: uuid.UUID, file_id: uuid.UUID) -> None:
    """Delete a file's bytes, if there are any."""
    remove_object(name_of(tenant_id, file_id))


def opened(tenant_id: uuid.UUID, file_id: uuid.UUID) -> AbstractContextManager[IO[Any]]:
    """The bytes of a file, to be read. Raises FileNotFoundError."""
    return opened_object(name_of(tenant_id, file_id))


def pieces(content: IO[bytes]) -> Iterator[bytes]:
    """What is in an open file, bit by bit."""
    while piece := content.read(PIECE_BYTES):
        yield piece
