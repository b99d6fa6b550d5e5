"""A chat of Open WebUI's export: `history.messages` holds nodes, each with its `parentId`; `currentId` is where it was left.
Older ones, and those that programs made, have `messages` alone, one after another. https://docs.openwebui.com/features/chat-features
"""

from collections.abc import Mapping, Sequence
from typing import Any

from chat.imports.chatgpt import listed, seconds
from chat.imports.tree import ordered
from chat.imports.values import ROLES, BadConversation, Conversation, Role, Said

SOURCE = "open_webui"
_NAMES = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}
_MILLISECONDS = 1e11
"""What is larger is a time in milliseconds."""


def read(found: Mapping[str, Any]) -> Conversation:
    """The conversation. Raises `BadConversation`."""
    chat = found.get("chat")
    chat = chat if isinstance(chat, dict) else found
    history = chat.get("history")
    nodes_there = history.get("messages") if isinstance(history, dict) else None
    current = history.get("currentId") if isinstance(history, dict) else None
    skipped: set[str] = set()
    if not isinstance(nodes_there, dict) or (not nodes_there and chat.get("messages")):
        nodes_there, current = _linear(chat.get("messages"))
    nodes: dict[str, tuple[str | None, Said | None]] = {}
    for key, node in nodes_there.items():
        if not isinstance(node, dict):
            skipped.add("message")
            continue
        parent = node.get("parentId")
        nodes[key] = (parent if isinstance(parent, str) else None, _said(key, node, skipped))
    messages, nearest = ordered(nodes)
    title = found.get("title") or chat.get("title")
    return Conversation(
        source=SOURCE,
        title=title if isinstance(title, str) else "",
        at=_at(found.get("created_at") or chat.get("timestamp")),
        messages=messages,
        leaf=nearest.get(current) if isinstance(current, str) else None,
        skipped=tuple(sorted(skipped)),
    )


def _linear(messages: object) -> tuple[dict[str, Any], str | None]:
    """Messages one after another, as a tree."""
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise BadConversation("unknown_format", "It has no messages.")
    nodes: dict[str, Any] = {}
    last: str | None = None
    for number, message in enumerate(messages):
        key = str(number)
        nodes[key] = {**message, "parentId": last} if isinstance(message, dict) else message
        last = key if isinstance(message, dict) else last
    return nodes, last


def _said(key: str, node: Mapping[str, Any], skipped: set[str]) -> Said | None:
    role: Role = "tool"
    for known in ROLES:
        if node.get("role") == known:
            role = known
            break
    else:
        skipped.add(f"role {node.get('role')!s:.40}")
    text = _text(node.get("content"), skipped)
    for file in listed(node.get("files")):
        kind = file.get("type") if isinstance(file, dict) else None
        named = f"{kind if isinstance(kind, str) else 'file':.40}"
        skipped.add(named)
        text = f"{text}\n\n[{named}: not imported]".strip()
    if not text.strip():
        return None
    model = node.get("modelName") or node.get("model")
    named = model if role == "assistant" and isinstance(model, str) else _NAMES[role]
    return Said(key=key, parent=None, role=role, name=named, text=text, at=_at(node.get("timestamp")))


def _text(content: object, skipped: set[str]) -> str:
    if isinstance(content, str):
        return content
    texts: list[str] = []
    for part in listed(content):
        if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            kind = f"{part.get('type') if isinstance(part, dict) else 'part'!s:.60}"
            skipped.add(kind)
            texts.append(f"[{kind}: not imported]")
    return "\n\n".join(texts)


def _at(value: object) -> float | None:
    at = seconds(value)
    return at / 1000 if at is not None and at > _MILLISECONDS else at
