"""From nodes that name their parents, in any order and with gaps, to messages in order."""

from collections.abc import Mapping

from msgspec.structs import replace

from chat.imports.bounds import MESSAGES_MAX
from chat.imports.values import BadConversation, Said


def ordered(nodes: Mapping[str, tuple[str | None, Said | None]]) -> tuple[tuple[Said, ...], dict[str, str | None]]:
    """The messages of a tree, each after the one that it follows, and for each node the nearest message at or above it.

    A node without a message is left out, and what follows it follows the one above. One whose parent isn't there begins a
    branch; those that follow each other in a circle are reached from nowhere, and left out. Raises `BadConversation`.
    """
    children: dict[str | None, list[str]] = {}
    for key, (parent, _) in nodes.items():
        children.setdefault(parent if parent in nodes and parent != key else None, []).append(key)
    found: list[Said] = []
    nearest: dict[str, str | None] = {}
    waiting: list[tuple[str, str | None]] = [(key, None) for key in reversed(children.get(None, ()))]
    while waiting:
        key, above = waiting.pop()
        said = nodes[key][1]
        if said is not None:
            if len(found) >= MESSAGES_MAX:
                raise BadConversation("too_long", f"A conversation has at most {MESSAGES_MAX} messages.")
            found.append(replace(said, parent=above))
            above = key
        nearest[key] = above
        waiting.extend((child, above) for child in reversed(children.get(key, ())))
    return tuple(found), nearest
