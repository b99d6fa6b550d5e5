"""Files, as models are given them: images to look at, the text of the rest to read, within a budget."""

import asyncio
import uuid
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import structlog
from msgspec.structs import replace

from chat.answering import SeenFile, Turn, answering
from chat.files.objects import name_of
from chat.message_parts import FilePart
from chat.selectors import Spoken
from chat.store import every, transaction
from kernel.errors import Unavailable
from kernel.objects import opened_object
from tenants.principals import Principal

log = structlog.get_logger(__name__)

FILE_CHARS_MAX = 200_000
"""Of one file's text: about 50,000 tokens."""
IMAGE_CHARS = 3_000
"""What an image takes of a budget of characters: about 1,000 tokens."""
IMAGES_MAX = 20
IMAGES_BYTES_MAX = 20 * 1024 * 1024
"""Of one question."""
NOTE_CHARS = 200
"""What names a file that is not shown."""


class _Kept(msgspec.Struct, frozen=True):
    """What of a file is in the storage."""

    id: uuid.UUID
    part: str


def weight(message: Spoken) -> int:
    """How many characters of a context's budget a message takes, with its files."""
    return len(message.text) + sum(_weight(part) for part in message.files)


async def with_files(
    turns: tuple[Turn, ...],
    messages: Sequence[Spoken],
    *,
    principal: Principal,
    alias: str,
    budget_chars: int,
) -> tuple[Turn, ...]:
    """The turns, which are the last of these messages, with what the model is given of their files."""
    told = messages[len(messages) - len(turns) :]
    parts = [part for message in told for part in message.files]
    if not parts:
        return turns
    images = any(part.kind == "image" for part in parts)
    seen = await parts_for_model(
        told,
        tenant_id=principal.tenant_id,
        budget_chars=budget_chars,
        sees_images=images and await answering().sees_images(principal=principal, alias=alias),
    )
    return tuple(replace(turn, files=seen.get(message.id, ())) for turn, message in zip(turns, told, strict=True))


async def parts_for_model(
    messages: Sequence[Spoken], *, tenant_id: uuid.UUID, budget_chars: int, sees_images: bool
) -> Mapping[uuid.UUID, tuple[SeenFile, ...]]:
    """What a model is given of the files of these turns, by message.

    The newest files come first where the budget doesn't hold all of them: what is left out is named, and so is where a text
    was cut. Images of the last turn are always shown, so that a model that can't see any is refused by name; earlier ones
    are only named to such a model. Files that were deleted since are named too.
    """
    kept = await _kept(tenant_id, (part.attachment for message in messages for part in message.files))
    budget = _Budget(chars=budget_chars - sum(len(message.text) for message in messages))
    seen: dict[uuid.UUID, tuple[SeenFile, ...]] = {}
    for message in reversed(messages):
        shows = sees_images or message is messages[-1]
        found = [await _seen(tenant_id, part, kept, budget, shows=shows) for part in message.files]
        if found:
            seen[message.id] = tuple(found)
    return seen


class _Budget:
    """What is left for files."""

    def __init__(self, *, chars: int) -> None:
        self.chars = max(0, chars)
        self.images = IMAGES_MAX
        self.image_bytes = IMAGES_BYTES_MAX


async def _seen(
    tenant_id: uuid.UUID, part: FilePart, kept: Mapping[uuid.UUID, _Kept], budget: _Budget, *, shows: bool
) -> SeenFile:
    if (there := kept.get(part.attachment)) is None:
        return _named(part, "deleted")
    object_ = name_of(tenant_id, there.id, there.part)
    if part.kind != "image":
        return await _read(part, object_, budget)
    return await _shown(part, object_, budget) if shows else _named(part, "an image that this model can't see")


async def _read(part: FilePart, object_: str, budget: _Budget) -> SeenFile:
    most = min(FILE_CHARS_MAX, budget.chars)
    if most <= NOTE_CHARS:
        return _named(part, "left out: the conversation is too long")
    text, cut = await asyncio.to_thread(_text, object_, most)
    budget.chars -= len(text)
    return SeenFile(name=part.name, text=text, note="cut: only its beginning is shown" if cut else "")


async def _shown(part: FilePart, object_: str, budget: _Budget) -> SeenFile:
    data = await asyncio.to_thread(_bytes, object_, budget.image_bytes) if budget.images else None
    if data is None:
        return _named(part, "left out: too many images")
    budget.images -= 1
    budget.image_bytes -= len(data)
    budget.chars -= IMAGE_CHARS
    return SeenFile(name=part.name, image=f"data:{_media_type(data)};base64,{b64encode(data).decode()}")


def _named(part: FilePart, note: str) -> SeenFile:
    return SeenFile(name=part.name, note=note)


async def _kept(tenant_id: uuid.UUID, ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, _Kept]:
    async with transaction(tenant_id) as connection:
        rows = await every(
            connection,
            "SELECT id, CASE WHEN kind = 'pdf' THEN 'text' WHEN has_model THEN 'model' ELSE 'content' END AS part "
            "FROM chat_attachment WHERE id = ANY(%s) AND room_id IS NOT NULL AND state = 'stored'",
            (list(ids),),
        )
    return {row["id"]: _Kept(**row) for row in rows}


def _text(name: str, chars_max: int) -> tuple[str, bool]:
    """The beginning of a text, and whether there is more."""
    # A character has at most four bytes.
    read = _bytes(name, chars_max * 4, whole=False) or b""
    text = read.decode("utf-8-sig", "ignore")
    return text[:chars_max], len(text) > chars_max or len(read) == chars_max * 4


def _bytes(name: str, bytes_max: int, *, whole: bool = True) -> bytes | None:
    """What is in an object; None where it is longer and wanted `whole`. Raises `Unavailable`."""
    try:
        with opened_object(name) as content:
            read: bytes = content.read(bytes_max + 1)
    except OSError as error:
        log.warning("attachment_not_read", object=name, error=repr(error))
        raise Unavailable("A file of this conversation can't be read now.") from error
    if len(read) > bytes_max:
        return None if whole else read[:bytes_max]
    return read


def _media_type(data: bytes) -> str:
    # Whatever was sent, it was written anew as one of the two.
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"


def _weight(part: FilePart) -> int:
    if part.kind == "image":
        return IMAGE_CHARS
    return min(FILE_CHARS_MAX, part.text_chars or 0) + NOTE_CHARS
