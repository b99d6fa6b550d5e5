"""Whatever a conversation holds in place of what is expected: it is read or refused, and the others go on. So is an archive."""

import copy
import io
import random
import tracemalloc
import zipfile
from typing import Any

import pytest

from chat.imports import chatgpt, open_webui, source
from chat.imports.bounds import DIRECTORY_BYTES_MAX, ENTRIES_MAX
from chat.imports.rooms import storable
from chat.imports.values import BadConversation, Conversation
from chat.transfers.leases import CantTransfer
from tests.chat.files.export_files import archive, archive_of_many, as_json, branched, open_webui_chat

pytestmark = pytest.mark.no_database

ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e400,
    "",
    "x",
    "\x00\ud800",
    [],
    [[]],
    {},
    {"a": []},
    [None, 5, {"type": 7}],
    10**30,
)
ROUNDS = 3_000


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a value something could stand instead."""
    within = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(found for key, each in within for found in places(each, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    made = copy.deepcopy(value)
    at = made
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = odd
    return made


@pytest.mark.parametrize(("read", "example"), [(chatgpt.read, branched()), (open_webui.read, open_webui_chat())])
def test_any_value_in_any_place_is_read_or_refused(read: Any, example: dict[str, Any]) -> None:
    chosen = random.Random(5)
    spots = places(example)
    refused = 0
    for _ in range(ROUNDS):
        found = example
        for _ in range(chosen.randint(1, 3)):
            path = chosen.choice(spots)
            try:
                found = changed(found, path, chosen.choice(ODD))
            except (KeyError, TypeError, IndexError):
                # What was there is gone already.
                continue
        try:
            conversation = read(found)
        except BadConversation:
            refused += 1
            continue
        check(conversation)
    assert 0 < refused < ROUNDS / 2


def check(conversation: Conversation) -> None:
    """Every message follows one that is before it."""
    seen: set[str] = set()
    for said in conversation.messages:
        assert said.parent is None or said.parent in seen
        assert said.text.strip()
        assert said.at is None or isinstance(said.at, float)
        assert "\x00" not in storable(said.name)
        seen.add(said.key)
    assert len(seen) == len(conversation.messages)
    assert conversation.leaf is None or conversation.leaf in seen


# --- archives


def read_archive(content: bytes) -> str:
    """The code that it is refused with."""
    with pytest.raises(CantTransfer) as refused:
        list(source.elements(io.BytesIO(content), size=len(content)))
    return refused.value.code


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_is_unpacked_without_a_bound_is_not_unpacked(method: int) -> None:
    bomb = archive({"conversations.json": b"[" + b" " * 50_000_000 + b"]"}, method=method)
    assert len(bomb) < 50_000
    tracemalloc.start()
    try:
        assert read_archive(bomb) == "import_compression"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_a_table_of_contents_is_as_large_as_it_is() -> None:
    """Not as its end says, where a ZIP64 record says otherwise."""
    assert read_archive(archive_of_many(ENTRIES_MAX + 1)) == "import_too_large"
    large = archive_of_many(200_000)
    tracemalloc.start()
    try:
        assert read_archive(large) == "import_too_large"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * DIRECTORY_BYTES_MAX


def test_an_archive_with_any_bytes_wrong_is_read_or_refused() -> None:
    chosen = random.Random(7)
    whole = archive({"conversations.json": as_json(branched())})
    fields = [at for mark in (b"PK\x01\x02", b"PK\x05\x06") for at in range(whole.index(mark), len(whole))]
    refused = 0
    for _ in range(ROUNDS):
        content = bytearray(whole)
        for _ in range(chosen.randint(1, 4)):
            content[chosen.choice([chosen.randrange(64), chosen.choice(fields)])] = chosen.choice((0, 1, 8, 127, 255))
        try:
            list(source.elements(io.BytesIO(content), size=len(content)))
        except CantTransfer:
            refused += 1
    assert refused > ROUNDS / 10
