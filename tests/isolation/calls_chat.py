"""Example calls of rooms. Whoever isn't in a room is a stranger to it, also an admin of its own company."""

from dataclasses import replace

from django.db import transaction

from chat.models import RoomMember
from chat.services.members import add_member
from kernel.loop import on_loop
from tests.isolation import calls_chat_files as files
from tests.isolation.calls import Call, Made
from tests.isolation.calls_chat_history import HISTORY_CALLS
from tests.isolation.calls_chat_presets import CALLS as CALLS_PRESETS
from tests.isolation.calls_chat_rooms import CALLS as CALLS_ROOMS
from tests.isolation.calls_chat_search import CALLS as CALLS_SEARCH
from tests.isolation.made_chat import generation_of, room_of
from tests.support.cast import Company


def _room(company: Company) -> Made:
    return Made(ids={"room_id": room_of(company)})


def _changed(company: Company) -> Made:
    return Made(ids={"room_id": room_of(company)}, body={"title": "Other plans"})


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
    Call("GET", "rooms/<uuid:room_id>/members", _room, private=True),
    Call("POST", "rooms/<uuid:room_id>/members", _invited, status=201, private=True, foreign={"member": None}),
    Call("DELETE", "rooms/<uuid:room_id>/members/<uuid:room_member_id>", _joined, status=204, private=True),
    Call("GET", "generations/<uuid:generation_id>", _generation, private=True),
    Call("POST", "generations/<uuid:generation_id>/stop", _generation, status=202, private=True),
    *HISTORY_CALLS,
    *CALLS_SEARCH,
    *CALLS_ROOMS,
    *CALLS_PRESETS,
    Call(
        "PATCH",
        "rooms/<uuid:room_id>/members/<uuid:room_member_id>",
        lambda company: replace(_joined(company), body={"role": "moderator"}),
        private=True,
    ),
    *files.CALLS,
)
