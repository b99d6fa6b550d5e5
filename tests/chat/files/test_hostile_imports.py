"""Whatever a conversation holds in place of what is expected: it is read or refused, and the others go on."""

import copy
import random
from typing import Any

import pytest

from chat.imports import chatgpt, open_webui
from chat.imports.rooms import storable
from chat.imports.values import BadConversation, Conversation
from tests.chat.files.export_files import branched, open_webui_chat

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
