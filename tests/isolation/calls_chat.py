"""Example calls of rooms. Whoever isn't in a room is a stranger to it, also an admin of its own company."""

import uuid

from django.db import transaction

from chat.models import Generation, RoomMember
from chat.services.members import add_member
from chat.services.messages import send_message
from chat.services.rooms import create_room
from kernel.ids import uuid7
from kernel.loop import on_loop
from tests.isolation.calls import Call, Made
from tests.support.cast import Company


def room_of(company: Company) -> uuid.UUID:
    """A new shared room of the owner's, with nobody else in it."""
    return on_loop(create_room(member=company.owner.principal, kind="shared", title="Plans")).id


def message_in(company: Company, room_id: uuid.UUID) -> uuid.UUID:
    """A message of the owner's, which no model answers."""
    said = send_message(member=company.owner.principal, room_id=room_id, text="hello", generate=False)
    return on_loop(said).message.id


def generation_of(company: Company) -> uuid.UUID:
    """An answer that is waiting to be written."""
    room_id = room_of(company)
    prompt_id = message_in(company, room_id)
    with company.scope(), transaction.atomic():
        return Generation.objects.create(
            tenant_id=company.id,
            room_id=room_id,
            prompt_id=prompt_id,
            model="echo",
            requested_by_id=company.owner.membership_id,
            request_id=uuid7(),
        ).id


def _room(company: Company) -> Made:
    return Made(ids={"room_id": room_of(company)})


def _changed(company: Company) -> Made:
    return Made(ids={"room_id": room_of(company)}, body={"title": "Other plans"})


def _said(company: Company) -> Made:
    return Made(ids={"room_id": room_of(company)}, body={"text": "hello", "generate": False})


def _invited(company: Company) -> Made:
    return Made(ids={"room_id": room_of(company)}, body={"member": str(company.bob.membership_id)})


def _joined(company: Company) -> Made:
    room_id = room_of(company)
    on_loop(add_member(member=company.owner.principal, room_id=room_id, membership_id=company.bob.membership_id))
    with company.scope(), transaction.atomic():
        place = RoomMember.objects.get(room_id=room_id, membership_id=company.bob.membership_id)
    return Made(ids={"room_id": room_id, "room_member_id": place.id})


def _generation(company: Company) -> Made:
    return Made(ids={"generation_id": generation_of(company)})


CALLS = (
    Call("GET", "rooms", lambda company: Made(listed=(room_of(company),))),
    Call("POST", "rooms", lambda company: Made(body={"kind": "private", "title": "Mine"}), status=201),
    Call("GET", "rooms/<uuid:room_id>", _room, private=True),
    Call("PATCH", "rooms/<uuid:room_id>", _changed, private=True),
    Call("DELETE", "rooms/<uuid:room_id>", _room, status=204, private=True),
    Call("GET", "rooms/<uuid:room_id>/snapshot", _room, private=True),
    Call("GET", "rooms/<uuid:room_id>/messages", _room, private=True),
    Call("POST", "rooms/<uuid:room_id>/messages", _said, status=201, private=True),
    Call("GET", "rooms/<uuid:room_id>/members", _room, private=True),
    Call("POST", "rooms/<uuid:room_id>/members", _invited, status=201, private=True, foreign={"member": None}),
    Call("DELETE", "rooms/<uuid:room_id>/members/<uuid:room_member_id>", _joined, status=204, private=True),
    Call("GET", "generations/<uuid:generation_id>", _generation, private=True),
    Call("POST", "generations/<uuid:generation_id>/stop", _generation, status=202, private=True),
)
