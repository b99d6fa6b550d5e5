"""Where files are kept: the one way to name a tenant's object, and the storage it is in.

The storage is Django's, under the name `files` in `settings.STORAGES`: a folder by default, anything that Django knows a
storage for otherwise. All processes must see the same one.
"""

import uuid

from django.core.files.storage import Storage, storages

STORAGE = "files"


def object_name(tenant_id: uuid.UUID, *parts: object) -> str:
    """The name of a tenant's object: `{tenant}/part/part`."""
    return "/".join((str(tenant_id), *(str(part) for part in parts)))


def object_storage() -> Storage:
    """The storage of files."""
    return storages[STORAGE]
