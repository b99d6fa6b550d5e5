"""What a caller says of a new batch."""

import re
import uuid
from datetime import timedelta
from typing import Annotated, Literal

import msgspec

from kernel.errors import InvalidRequest
from providers.batches.bounds import KEPT_MAX_S, KEPT_MIN_S

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
PAIRS_MAX = 16
NAME_MAX_CHARS = 64
VALUE_MAX_CHARS = 512
_FILE = re.compile(r"file-([0-9a-f]{32})")
_BATCH = re.compile(r"batch_([0-9a-f]{32})")


class ExpiresAfter(msgspec.Struct, frozen=True):
    """How long after it was made a file is to be kept."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, msgspec.Meta(ge=KEPT_MIN_S, le=KEPT_MAX_S)]


class NewBatch(msgspec.Struct, frozen=True):
    """The body of `POST /v1/batches`."""

    input_file_id: str
    endpoint: Endpoint
    completion_window: Literal["24h"]
    metadata: dict[str, str] | None = None
    output_expires_after: ExpiresAfter | None = None

    @property
    def results_kept(self) -> timedelta | None:
        """How long the files are kept that the batch makes; None where it isn't said."""
        after = self.output_expires_after
        return timedelta(seconds=after.seconds) if after else None


_decoder = msgspec.json.Decoder(NewBatch)


def read_new_batch(body: bytes) -> NewBatch:
    """Raises InvalidRequest, naming the field."""
    try:
        asked = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        named = re.search(r"`\$\.(\w+)|field `(\w+)`", str(error))
        param = (named[1] or named[2]) if named else None
        raise InvalidRequest(f"The body is not a batch: {error}.", details={"param": param}) from error
    pairs = asked.metadata or {}
    if (
        len(pairs) > PAIRS_MAX
        or any(len(name) > NAME_MAX_CHARS for name in pairs)
        or any(len(value) > VALUE_MAX_CHARS for value in pairs.values())
        or any("\0" in text for pair in pairs.items() for text in pair)
    ):
        raise InvalidRequest(
            f"`metadata` has at most {PAIRS_MAX} pairs, of {NAME_MAX_CHARS} and {VALUE_MAX_CHARS} characters.",
            details={"param": "metadata"},
        )
    return asked


def file_name(file_id: uuid.UUID) -> str:
    """What callers call a file."""
    return f"file-{file_id.hex}"


def file_id(name: str) -> uuid.UUID | None:
    """The file of this name; None if it can't be one."""
    match = _FILE.fullmatch(name)
    return uuid.UUID(match[1]) if match else None


def batch_name(batch_id: uuid.UUID) -> str:
    """What callers call a batch."""
    return f"batch_{batch_id.hex}"


def batch_id(name: str) -> uuid.UUID | None:
    """The batch of this name; None if it can't be one."""
    match = _BATCH.fullmatch(name)
    return uuid.UUID(match[1]) if match else None
