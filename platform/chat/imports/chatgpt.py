"""A conversation of ChatGPT's `conversations.json`: `mapping` holds nodes, each with its `parent`; `current_node` is where it
was left.

The format isn't documented by its maker. This is what its files hold: https://help.openai.com/en/articles/7260999
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from chat.imports.tree import ordered
from chat.imports.values import ROLES, BadConversation, Conversation, Role, Said

SOURCE = "chatgpt"
_MARK = re.compile("\ue200[^\ue200\ue201]*\ue201")
"""What stands for a source in a text: characters of Unicode's private area around what ChatGPT looks up."""
_NAMES = {"user": "User", "assistant": "ChatGPT", "system": "System", "tool": "Tool"}


def read(found: Mapping[str, Any]) -> Conversation:
    """The conversation. Raises `BadConversation`."""
    mapping = found.get("mapping")
    if not isinstance(mapping, dict):
        raise BadConversation("unknown_format", "It has no messages.")
    skipped: set[str] = set()
    nodes: dict[str, tuple[str | None, Said | None]] = {}
    for key, node in mapping.items():
        if not isinstance(node, dict):
            skipped.add("node")
            continue
        parent = node.get("parent")
        said = _said(key, node.get("message"), skipped)
        nodes[key] = (parent if isinstance(parent, str) else None, said)
    messages, nearest = ordered(nodes)
    leaf = found.get("current_node")
    return Conversation(
        source=SOURCE,
        title=found["title"] if isinstance(found.get("title"), str) else "",
        at=seconds(found.get("create_time")),
        messages=messages,
        leaf=nearest.get(leaf) if isinstance(leaf, str) else None,
        skipped=tuple(sorted(skipped)),
    )


def seconds(value: object) -> float | None:
    """A time in Unix seconds, if it is one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def listed(value: object) -> list[Any]:
    """A list, if it is one."""
    return value if isinstance(value, list) else []


def _said(key: str, message: object, skipped: set[str]) -> Said | None:
    """A node's message; None for one that shows nothing."""
    if not isinstance(message, dict):
        return None
    metadata = message.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if metadata.get("is_visually_hidden_from_conversation"):
        return None
    author = message.get("author")
    author = author if isinstance(author, dict) else {}
    role = _role(author.get("role"), skipped)
    content = message.get("content")
    text = "\n\n".join(filter(None, (_text(content, skipped), *_files(metadata, content, skipped))))
    text = _cited(text, metadata)
    if not text.strip():
        return None
    named = metadata.get("model_slug") if role == "assistant" else author.get("name")
    return Said(
        key=key,
        parent=None,
        role=role,
        name=named if isinstance(named, str) and named else _NAMES[role],
        text=text,
        at=seconds(message.get("create_time")),
    )


def _cited(text: str, metadata: Mapping[str, Any]) -> str:
    """A text whose marks for sources, which only ChatGPT can show, are links where the file says so, and gone elsewhere."""
    if "\ue200" not in text:
        return text
    links = {}
    for reference in listed(metadata.get("content_references")):
        known = reference if isinstance(reference, dict) else {}
        mark, link = known.get("matched_text"), known.get("alt")
        if isinstance(mark, str) and isinstance(link, str):
            links[mark] = link
    return _MARK.sub(lambda found: links.get(found[0], ""), text)


def _role(role: object, skipped: set[str]) -> Role:
    for known in ROLES:
        if role == known:
            return known
    skipped.add(f"role {role!s:.40}")
    return "tool"


def _text(content: object, skipped: set[str]) -> str:
    if not isinstance(content, dict):
        return ""
    kind = content.get("content_type")
    text = content.get("text")
    match kind:
        case "text" | "multimodal_text":
            return "\n\n".join(filter(None, (_part(part, skipped) for part in listed(content.get("parts")))))
        case "code" | "execution_output" if isinstance(text, str):
            language = content.get("language")
            named = language if isinstance(language, str) and language.isalnum() else ""
            return f"```{named}\n{text}\n```" if text else ""
        case "tether_quote" if isinstance(text, str):
            return "> " + text.replace("\n", "\n> ")
        case "system_error" if isinstance(text, str):
            return text
    skipped.add(f"{kind!s:.60}")
    return ""


def _files(metadata: Mapping[str, Any], content: object, skipped: set[str]) -> Iterator[str]:
    """Names the files that were sent with a message. Images are mostly among its parts as well, and are named there."""
    parts = listed(content.get("parts")) if isinstance(content, dict) else []
    shown = any(isinstance(part, dict) for part in parts)
    for file in listed(metadata.get("attachments")):
        known = file if isinstance(file, dict) else {}
        if shown and str(known.get("mime_type")).startswith("image/"):
            continue
        skipped.add("file")
        name = known.get("name")
        yield f"[file{f' {name:.200}' if isinstance(name, str) else ''}: not imported]"


def _part(part: object, skipped: set[str]) -> str:
    """A part's text. One that isn't text is named, there and among what was skipped."""
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        if part.get("content_type") == "audio_transcription" and isinstance(part.get("text"), str):
            return str(part["text"])
        kind = f"{part.get('content_type')!s:.60}"
        skipped.add(kind)
        return f"[{kind}: not imported]"
    skipped.add("part")
    return ""
