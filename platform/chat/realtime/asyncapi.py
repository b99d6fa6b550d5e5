"""The protocol as an AsyncAPI 3 document, made from the frames themselves.

    manage.py asyncapi > docs/asyncapi.json

Served at /api/v1/asyncapi.json too. See https://www.asyncapi.com/docs/reference/specification/v3.0.0.
"""

import json
from collections.abc import Mapping
from functools import cache
from inspect import cleandoc
from typing import Any, Union, get_args

import msgspec

from chat.note_bodies import NOTES
from chat.realtime.commands import command_bodies
from chat.realtime.frames import SUBPROTOCOL, ClientFrame, CloseCode, ServerFrame
from chat.shapes import GenerationShape, MessageShape, RoomMemberShape, RoomShape

PATH = "/api/v1/asyncapi.json"
_REF = "#/components/schemas/{name}"

EVENTS: Mapping[str, Mapping[str, Any]] = {
    "room.updated": {"room": RoomShape},
    "member.joined": {"member": RoomMemberShape},
    "member.left": {"member": RoomMemberShape},
    "message.created": {"message": MessageShape},
    "message.edited": {"message": MessageShape},
    "message.deleted": {"message": MessageShape},
    "message.reacted": {"message": MessageShape},
    "generation.started": {"generation": GenerationShape},
    "generation.finished": {"generation": GenerationShape, "message": Union[MessageShape, None]},  # noqa: UP007 - a value
}
"""What the body of each durable event holds."""


def document(commands: Mapping[str, type[msgspec.Struct]]) -> dict[str, Any]:
    """The document, given the bodies of the commands that there are."""
    sent, received = get_args(ClientFrame), get_args(ServerFrame)
    shapes = {shape for body in EVENTS.values() for shape in body.values()}
    _, schemas = msgspec.json.schema_components(
        [*sent, *received, *commands.values(), *NOTES.values(), *sorted(shapes, key=repr)], ref_template=_REF
    )
    for schema in schemas.values():
        # Before 3.13, Python leaves docstrings their indentation.
        schema["description"] = cleandoc(schema["description"])
    for kind, body in EVENTS.items():
        schemas[_event_name(kind)] = _event(kind, body)
    for kind, note_body in NOTES.items():
        schemas[f"Note_{kind}"] = _named("note", kind, "Note", note_body)
    for name, command_body in commands.items():
        schemas[_command_name(name)] = _named("command", name, "Command", command_body)
    messages = {_op(frame): _message(frame) for frame in (*sent, *received)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Parley's rooms",
            "version": "1",
            "description": "One socket per client. docs/websocket.md says what this document can't: order, resume, ends.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "socket": {
                "address": "/ws",
                "description": f"Subprotocol {SUBPROTOCOL}. Frames are JSON text.",
                "messages": {op: {"$ref": f"#/components/messages/{op}"} for op in messages},
                "x-close-codes": {
                    str(code): name.lower() for name, code in vars(CloseCode).items() if isinstance(code, int)
                },
            }
        },
        "operations": {
            "hear": _operation("receive", sent, "What clients say."),
            "say": _operation("send", received, "What the server says."),
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _op(frame: Any) -> str:
    return str(frame.__struct_config__.tag)


def _message(frame: Any) -> dict[str, Any]:
    summary = str(frame.__doc__).strip().split("\n")[0]
    return {"name": _op(frame), "summary": summary, "payload": {"$ref": _REF.format(name=frame.__name__)}}


def _operation(action: str, frames: tuple[Any, ...], summary: str) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/socket"},
        "messages": [{"$ref": f"#/channels/socket/messages/{_op(frame)}"} for frame in frames],
    }


def _event_name(kind: str) -> str:
    return "Event_" + kind.replace(".", "_")


def _command_name(name: str) -> str:
    return "Command_" + name.replace(".", "_")


def _event(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    schemas, _ = msgspec.json.schema_components(list(body.values()), ref_template=_REF)
    parts = dict(zip(body, schemas, strict=True))
    return {
        "title": f"The event {kind}",
        "allOf": [
            {"$ref": _REF.format(name="Event")},
            {
                "type": "object",
                "properties": {
                    "type": {"const": kind},
                    "body": {"type": "object", "properties": parts, "required": list(parts)},
                },
            },
        ],
    }


def _named(what: str, name: str, frame: str, body: type[Any]) -> dict[str, Any]:
    """A frame that says by its `type` what its body is."""
    return {
        "title": f"The {what} {name}",
        "allOf": [
            {"$ref": _REF.format(name=frame)},
            {
                "type": "object",
                "properties": {"type": {"const": name}, "body": {"$ref": _REF.format(name=body.__name__)}},
            },
        ],
    }


def as_bytes(commands: Mapping[str, type[msgspec.Struct]]) -> bytes:
    """The document as it is published."""
    return json.dumps(document(commands), indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


@cache
def published() -> bytes:
    """The document of this server."""
    return as_bytes(command_bodies())
