"""Where files are kept: the one way to name a tenant's object, and the storage it is in.

The storage is Django's, under the name `files` in `settings.STORAGES`: a folder by default, anything that Django knows a
storage for otherwise. All processes must see the same one. What isn't a coroutine here takes time and belongs into a
thread.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import IO, Any

from django.core.files.base import File as Content
from django.core.files.storage import Storage, storages

STORAGE = "files"
PIECE_BYTES = 256 * 1024
"""Objects are moved in pieces of this size."""


def object_name(tenant_id: uuid.UUID, *parts: object) -> str:
    """The name of a tenant's object: `{tenant}/part/part`."""
    return "/".join((str(tenant_id), *(str(part) for part in parts)))


def object_storage() -> Storage:
    """The storage of files."""
    return storages[STORAGE]


def put_object(name: str, content: IO[bytes]) -> None:
    """Store an object's bytes, from the beginning of `content`, in the place of what there was of it."""
    content.seek(0)
    object_storage().delete(name)
    kept = object_storage().save(name, Content(content, name=name))
    if kept != name:
        # Somebody else stored the same object at the same time.
        object_storage().delete(kept)


def remove_object(name: str) -> None:
    """Delete an object, if it is there."""
    object_storage().delete(name)


@contextmanager
def opened_object(name: str) -> Iterator[IO[Any]]:
    """The bytes of an object, to be read. Raises FileNotFoundError."""
    with object_storage().open(name, "rb") as content:
        yield content


async def object_pieces(name: str) -> AsyncIterator[bytes]:
    """An object's bytes, piece by piece. Raises OSError before the first when they can't be had."""
    opened = opened_object(name)
    content = await asyncio.to_thread(opened.__enter__)
    try:
        while piece := await asyncio.to_thread(content.read, PIECE_BYTES):
            yield piece
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)
