"""The AsyncAPI document: current, and true of whatever is said."""

import json
from functools import cache
from typing import Any

import jsonschema
import pytest
from asgiref.sync import sync_to_async

from chat.realtime import asyncapi
from chat.realtime.commands import known_commands
from config.asgi import application
from tests.support.answers import FakeAnswering
from tests.support.asgi import request
from tests.support.cast import Company
from tests.support.stack import ROOT
from tests.support.ws_client import Client

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:jsonschema")

ID = "0190a000-0000-7000-8000-000000000000"
NOTE_BODIES: dict[str, dict[str, Any]] = {
    "invited": {"room": ID, "by": ID},
    "mentioned": {"room": ID, "message": ID, "by": ID},
    "unread": {"room": ID, "unread": 1},
    "balance": {"owed_nano": -1, "funds_nano": None},
    "budget_alert": {"budget": ID, "alert": ID, "percent": None},
    "export_done": {"export": ID, "state": "complete"},
    "import_done": {"import": ID, "state": "failed"},
}
"""As docs/websocket.md tells them."""


@cache
def published() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(asyncapi.published())
    return found


def check(frame: Any, name: str) -> None:
    """Raises when a frame isn't as the document says."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": published()["components"]}
    jsonschema.Draft202012Validator(schema).validate(frame)


def check_frame(frame: dict[str, Any]) -> None:
    """The same, by what the frame says it is."""
    check(frame, published()["components"]["messages"][frame["op"]]["payload"]["$ref"].rpartition("/")[2])
    if frame["op"] == "ev":
        check(frame, "Event_" + frame["type"].replace(".", "_"))
    elif frame["op"] == "note":
        check(frame, f"Note_{frame['type']}")


@pytest.mark.no_database
def test_the_document_is_current() -> None:
    assert (ROOT / "docs" / "asyncapi.json").read_bytes() == asyncapi.published(), "run `manage.py asyncapi`"


@pytest.mark.no_database
async def test_it_is_served() -> None:
    answer = await request(application, "GET", asyncapi.PATH)
    assert (answer.status_code, answer.content) == (200, asyncapi.published())


@pytest.mark.no_database
def test_every_reference_leads_somewhere_and_every_command_is_there() -> None:
    def refs(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if "$ref" in value else []
            return own + [ref for one in value.values() for ref in refs(one)]
        return [ref for one in value for ref in refs(one)] if isinstance(value, list) else []

    for ref in set(refs(published())):
        found: Any = published()
        for name in ref.removeprefix("#/").split("/"):
            found = found[name]
    schemas = published()["components"]["schemas"]
    assert {f"Command_{name.replace('.', '_')}" for name in known_commands()} <= schemas.keys()
    assert {f"Event_{name.replace('.', '_')}" for name in asyncapi.EVENTS} <= schemas.keys()
    assert {name for name in schemas if name.startswith("Note_")} == {f"Note_{kind}" for kind in NOTE_BODIES}


@pytest.mark.no_database
@pytest.mark.parametrize("kind", NOTE_BODIES)
def test_a_note_has_the_body_of_its_kind(kind: str) -> None:
    body = NOTE_BODIES[kind]
    note = {"op": "note", "seq": 1, "type": kind, "at": "2026-11-21T10:00:00Z", "body": body}
    check_frame(note)
    lacking = [{key: value for key, value in body.items() if key != left_out} for left_out in body]
    others = [other for other in NOTE_BODIES.values() if not body.keys() <= other.keys()]
    for wrong in (*lacking, *others, *({**body, key: []} for key in body)):
        with pytest.raises(jsonschema.ValidationError):
            check_frame(note | {"body": wrong})


@pytest.mark.no_database
def test_what_is_wrong_is_refused() -> None:
    delta = {"op": "delta", "room": "r", "gid": "g", "part": 0, "kind": "text", "off": 0, "text": "x"}
    for wrong in (delta | {"kind": "noise"}, delta | {"off": "0"}, {key: delta[key] for key in delta if key != "text"}):
        with pytest.raises(jsonschema.ValidationError):
            check(wrong, "Delta")


async def test_all_that_is_said_in_a_conversation_is_as_it_says(
    server: str, company: Company, make_room: Any, answering: FakeAnswering
) -> None:
    room = await make_room("shared")
    bob = await Client(server, company.bob.access_token()).hello(notes=0)
    alice = await Client(server, company.alice.access_token()).hello()
    state = await alice.join(room.id)
    await bob.join(room.id)
    said = {"op": "cmd", "cid": "c1", "type": "message.send", "room": str(room.id), "body": {"text": "What?"}}
    check(said, "Command_message_send")
    await alice.send(said)
    await alice.until(lambda: state.texts)
    gid = next(iter(state.texts))
    answer = await answering.answer_of(__import__("uuid").UUID(gid))
    answer.say("So.")
    answer.end()
    await bob.command("typing", room.id)
    await alice.command("message.nonsense", room.id)
    await alice.until(lambda: gid in state.ended)
    await alice.send({"op": "ping", "t": 1})
    await alice.command("message.send", room.id, text="@Bob, look!", generate=False)
    for kind in ("invited", "mentioned"):
        await bob.frame(lambda frame, kind=kind: frame["op"] == "note" and frame["type"] == kind)
    await alice.frame(lambda frame: frame["op"] == "note" and frame["type"] == "balance")
    await alice.frame(lambda frame: frame["op"] == "presence")
    with_rest = await sync_to_async(company.alice.client.patch)(
        f"/api/v1/rooms/{room.id}", {"title": "New"}, format="json"
    )
    assert with_rest.status_code == 200
    await bob.frame(lambda frame: frame.get("type") == "room.updated")
    frames = alice.frames + bob.frames
    for frame in frames:
        check_frame(frame)
    assert {"welcome", "ack", "err", "ev", "delta", "typing", "presence", "note"} <= {frame["op"] for frame in frames}
    for client in (alice, bob):
        await client.close()
