"""Files in a bucket of a store that speaks Amazon's S3, for `settings.STORAGES`. Its failures are Parley's errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from storages.backends.s3 import S3Storage

from kernel.errors import Unavailable

log = structlog.get_logger(__name__)


class Bucket(S3Storage):  # type: ignore[misc] # django-storages has no types
    """Raises `Unavailable` where the store can't be reached or refuses, and FileNotFoundError for what isn't there."""

    def _open(self, name: str, mode: str = "rb") -> Any:
        with _reached(name):
            return super()._open(name, mode)

    def _save(self, name: str, content: Any) -> Any:
        with _reached(name):
            return super()._save(name, content)

    def delete(self, name: str) -> None:
        with _reached(name):
            super().delete(name)

    def exists(self, name: str) -> bool:
        with _reached(name):
            return bool(super().exists(name))

    def listdir(self, path: str) -> Any:
        with _reached(path):
            return super().listdir(path)


@contextmanager
def _reached(name: str) -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        log.exception("file_store_failed", object=name)
        raise Unavailable("Files can't be reached now.") from error
