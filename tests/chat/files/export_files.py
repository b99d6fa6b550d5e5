"""Other products' export files, made by hand as they are publicly known to look."""

import io
import json
import struct
import zipfile
from typing import Any


def chatgpt_node(key: str, parent: str | None, role: str, *parts: Any, **more: Any) -> dict[str, Any]:
    """A node of `mapping`, with a message."""
    content = {"content_type": "text" if all(isinstance(one, str) for one in parts) else "multimodal_text"}
    message = {
        "id": key,
        "author": {"role": role, "name": more.pop("name", None), "metadata": {}},
        "create_time": more.pop("at", 1_700_000_000.25),
        "update_time": None,
        "content": more.pop("content", {**content, "parts": list(parts)}),
        "status": "finished_successfully",
        "end_turn": True,
        "weight": 1.0,
        "metadata": more.pop("metadata", {}),
        "recipient": "all",
    }
    return {"id": key, "message": message, "parent": parent, "children": []}


def chatgpt_conversation(title: str, *nodes: dict[str, Any], current: str) -> dict[str, Any]:
    """An element of `conversations.json`. Like there, a node without a message is the root."""
    mapping = {"root": {"id": "root", "message": None, "parent": None, "children": []}}
    mapping |= {node["id"]: node for node in nodes}
    return {
        "title": title,
        "create_time": 1_700_000_000.0,
        "update_time": 1_700_000_100.0,
        "mapping": mapping,
        "moderation_results": [],
        "current_node": current,
        "plugin_ids": None,
        "conversation_id": f"c-{title}",
        "gizmo_id": None,
        "is_archived": False,
        "default_model_slug": "gpt-4o",
        "id": f"c-{title}",
    }


def branched() -> dict[str, Any]:
    """A conversation with two branches, a system message, one that is hidden, an image, code and thoughts."""
    return chatgpt_conversation(
        'Trips "to" Oslo ✈',
        chatgpt_node("s", "root", "system", "Be kind."),
        chatgpt_node("h", "s", "system", "secret", metadata={"is_visually_hidden_from_conversation": True}),
        chatgpt_node("u1", "h", "user", "Where to?", {"content_type": "image_asset_pointer", "asset_pointer": "x"}),
        chatgpt_node("a1", "u1", "assistant", "North.", metadata={"model_slug": "gpt-4o"}, at=1_700_000_001.0),
        chatgpt_node("a2", "u1", "assistant", 'South.\\ "quoted" {[', metadata={"model_slug": "gpt-4o"}),
        chatgpt_node(
            "t", "a2", "assistant", content={"content_type": "thoughts", "thoughts": [{"summary": "x", "content": "y"}]}
        ),
        chatgpt_node("c", "t", "assistant", content={"content_type": "code", "language": "python", "text": "print(1)"}),
        chatgpt_node("o", "c", "tool", name="python", content={"content_type": "execution_output", "text": "1"}),
        current="o",
    )


def open_webui_chat(title: str = "Soup") -> dict[str, Any]:
    """An element of Open WebUI's export, with two answers to one question."""
    messages = {
        "1": {
            "id": "1",
            "parentId": None,
            "childrenIds": ["2", "3"],
            "role": "user",
            "content": "Soup?",
            "models": ["m"],
        },
        "2": {
            "id": "2",
            "parentId": "1",
            "childrenIds": [],
            "role": "assistant",
            "content": "Pea.",
            "modelName": "Llama",
        },
        "3": {
            "id": "3",
            "parentId": "1",
            "childrenIds": ["4"],
            "role": "assistant",
            "content": [{"type": "text", "text": "Leek."}, {"type": "image_url", "image_url": {"url": "x"}}],
            "model": "llama3.2:3b",
            "timestamp": 1_720_000_010,
        },
        "4": {"id": "4", "parentId": "3", "role": "user", "content": "Thanks", "files": [{"type": "doc", "id": "f"}]},
    }
    return {
        "id": "0b9ba7c6",
        "user_id": "u-1",
        "title": title,
        "chat": {
            "title": title,
            "models": ["llama3.2:3b"],
            "history": {"messages": messages, "currentId": "4"},
            "messages": [messages["1"], messages["3"], messages["4"]],
            "timestamp": 1_720_000_000_000,
        },
        "updated_at": 1_720_000_100,
        "created_at": 1_720_000_000,
        "archived": False,
        "pinned": False,
        "meta": {"tags": []},
    }


def archive(members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP archive, as ChatGPT sends it."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return written.getvalue()


def archive_of_many(count: int) -> bytes:
    """A ZIP archive with so many entries in its table of contents, which says at its end that it has one."""
    small = archive({"conversations.json": b"[{}]"})
    table, end = small.index(b"PK\x01\x02"), small.rindex(b"PK\x05\x06")
    many = small[table:end] * count
    sizes = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(many), table)
    return small[:table] + many + sizes + struct.pack("<4sLQL", b"PK\x06\x07", 0, table + len(many), 1) + small[end:]


def as_json(*conversations: Any) -> bytes:
    """A list of conversations."""
    return json.dumps(list(conversations), indent=1).encode()
