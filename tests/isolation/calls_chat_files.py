"""Example calls of files in rooms. One that no message was sent with is its uploader's alone."""

import tempfile
import uuid

from django.db import transaction

from chat.files.links import What, sign
from chat.imports.service import ask_import
from chat.models import Transfer
from chat.services.attachments import create_attachment
from chat.services.rooms import create_room
from chat.transfers.run import take_turn
from chat.transfers.store import ask_export
from kernel.loop import on_loop
from tests.isolation.calls import Call, Form, Made
from tests.support.cast import Company

TEXT = b"# Plans\n"


def attachment_of(company: Company) -> uuid.UUID:
    """A file of the owner's that waits for its message."""
    with tempfile.TemporaryFile() as content:
        content.write(TEXT)
        made = create_attachment(
            member=company.owner.principal, name="plans.md", media_type="", content=content, size=len(TEXT)
        )
        return on_loop(made).id


def _attachment(company: Company) -> Made:
    return Made(ids={"attachment_id": attachment_of(company)})


def _link(company: Company) -> Made:
    token, _ = sign(company.owner.principal, what=What.ATTACHMENT, id_=attachment_of(company))
    return Made(ids={"token": token})


def _room(company: Company) -> uuid.UUID:
    """A room of the owner's, who has no export under way."""
    with company.scope(), transaction.atomic():
        Transfer.objects.filter(state="queued").update(state="failed")
    return on_loop(create_room(member=company.owner.principal, kind="private", title="Plans")).id


def _exported_room(company: Company) -> Made:
    return Made(ids={"room_id": _room(company)}, body={"format": "json"})


def export_of(company: Company, *, complete: bool = False) -> uuid.UUID:
    """An export that the owner asked for."""
    made = on_loop(ask_export(member=company.owner.principal, room_id=_room(company), format_="json"))
    if complete:
        on_loop(take_turn(company.id, made.id))
    return made.id


def _export(company: Company) -> Made:
    return Made(ids={"export_id": export_of(company)})


CONVERSATIONS = b'[{"title": "Plans", "mapping": {"a": {"message": null, "parent": null}}}]'


def import_of(company: Company) -> uuid.UUID:
    """An import that the owner asked for."""
    _room(company)
    with tempfile.TemporaryFile() as content:
        content.write(CONVERSATIONS)
        made = ask_import(member=company.owner.principal, name="c.json", content=content, size=len(CONVERSATIONS))
        return on_loop(made).id


def _imported_file(company: Company) -> Made:
    _room(company)
    return Made(body=Form("conversations.json", CONVERSATIONS))


def _import(company: Company) -> Made:
    return Made(ids={"import_id": import_of(company)})


CALLS = (
    Call("POST", "imports", _imported_file, status=202),
    Call("GET", "imports", lambda company: Made(listed=(import_of(company),))),
    Call("GET", "imports/<uuid:import_id>", _import, private=True),
    Call("DELETE", "imports/<uuid:import_id>", _import, status=204, private=True),
    Call("POST", "rooms/<uuid:room_id>/exports", _exported_room, status=202, private=True),
    Call("GET", "exports", lambda company: Made(listed=(export_of(company),))),
    Call("GET", "exports/<uuid:export_id>", _export, private=True),
    Call("DELETE", "exports/<uuid:export_id>", _export, status=204, private=True),
    Call(
        "GET",
        "exports/<uuid:export_id>/link",
        lambda company: Made(ids={"export_id": export_of(company, complete=True)}),
        private=True,
    ),
    Call("POST", "attachments", lambda company: Made(body=Form("plans.md", TEXT)), status=201),
    Call("GET", "attachments/<uuid:attachment_id>", _attachment, private=True),
    Call("DELETE", "attachments/<uuid:attachment_id>", _attachment, status=204, private=True),
    Call("GET", "attachments/<uuid:attachment_id>/link", _attachment, private=True),
    Call("GET", "downloads/<str:token>", _link, public=True),
)
