"""Example calls of rooms."""

import secrets
import uuid

from django.db import transaction

from chat.models import Generation, Message, Room, RoomMember
from kernel.ids import uuid7
from tests.isolation.calls import Call, Made
from tests.isolation.calls_tenants import _member
from tests.support.cast import Company


def _room(company: Company) -> uuid.UUID:
    """A shared room of the owner's."""
    with company.scope(), transaction.atomic():
        owner = company.owner.membership_id
        room = Room.objects.create(
            tenant_id=company.id, kind="shared", title=secrets.token_hex(4), created_by_id=owner, settings={}
        )
        RoomMember.objects.create(tenant_id=company.id, room=room, membership_id=owner, role="owner")
        return room.id


def _place(company: Company, room_id: uuid.UUID) -> uuid.UUID:
    """Somebody else in the room."""
    member = _member(company)
    with company.scope(), transaction.atomic():
        place = RoomMember.objects.create(
            tenant_id=company.id, room_id=room_id, membership_id=member, role="member"
        )
        return place.id


def _message(company: Company, room_id: uuid.UUID) -> uuid.UUID:
    with company.scope(), transaction.atomic():
        said = Message.objects.create(
            tenant_id=company.id,
            room_id=room_id,
            author_kind="member",
            author_membership_id=company.owner.membership_id,
            parts=[{"type": "text", "text": "hi"}],
            text="hi",
        )
        return said.id


def _in_room(company: Company) -> Made:
    return Made(ids={"room_id": _room(company)})


def _changing(company: Company) -> Made:
    return Made(ids={"room_id": _room(company)}, body={"title": "Another title"})


def _saying(company: Company) -> Made:
    return Made(ids={"room_id": _room(company)}, body={"text": "Hello", "generate": False})


def _adding(company: Company) -> Made:
    return Made(ids={"room_id": _room(company)}, body={"member": str(_member(company))})


def _removing(company: Company) -> Made:
    room_id = _room(company)
    return Made(ids={"room_id": room_id, "room_member_id": _place(company, room_id)})


def _generation(company: Company) -> Made:
    room_id = _room(company)
    prompt = _message(company, room_id)
    with company.scope(), transaction.atomic():
        generation = Generation.objects.create(
            tenant_id=company.id,
            room_id=room_id,
            prompt_id=prompt,
            model="echo",
            requested_by_id=company.owner.membership_id,
            request_id=uuid7(),
        )
        return Made(ids={"generation_id": generation.id})


CALLS = (
    Call("GET", "rooms", lambda company: Made(listed=(_room(company),))),
    Call("POST", "rooms", lambda company: Made(body={"kind": "private", "title": "A room"}), status=201),
    Call("GET", "rooms/<uuid:room_id>", _in_room),
    Call("PATCH", "rooms/<uuid:room_id>", _changing),
    Call("DELETE", "rooms/<uuid:room_id>", _in_room, status=204),
    Call("GET", "rooms/<uuid:room_id>/snapshot", _in_room),
    Call("GET", "rooms/<uuid:room_id>/messages", _in_room),
    Call("POST", "rooms/<uuid:room_id>/messages", _saying, status=201),
    Call("GET", "rooms/<uuid:room_id>/members", _in_room),
    Call("POST", "rooms/<uuid:room_id>/members", _adding, status=201, foreign={"member": None}),
    Call("DELETE", "rooms/<uuid:room_id>/members/<uuid:room_member_id>", _removing, status=204),
    Call("GET", "generations/<uuid:generation_id>", _generation),
    Call("POST", "generations/<uuid:generation_id>/stop", _generation, status=202),
)
