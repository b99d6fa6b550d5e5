"""Example calls of a member's own list of rooms, and of the tenant's rules for them."""

import uuid

from chat.services.messages import send_message
from chat.services.policies import PolicyChange, change_policy
from chat.services.rooms import create_room
from chat.services.shares import share_branch
from kernel.loop import on_loop
from tests.isolation.calls import Call, Made
from tests.isolation.made_chat import room_of
from tests.support.cast import Company


def _revocable(company: Company) -> Made:
    made = _shared(company)
    return Made(ids={name: made.ids[name] for name in ("room_id", "share_id")})


def _mine(company: Company) -> Made:
    room = on_loop(create_room(member=company.owner.principal, kind="private", title="Mine"))
    return Made(ids={"room_id": room.id}, body={"pinned": True, "folder": "Work"})


def _allowed(company: Company) -> uuid.UUID:
    """A room with something said in it, in a tenant that lets rooms be shared."""
    member = company.owner.principal
    on_loop(change_policy(member=member, change=PolicyChange(sharing=True)))
    room_id = room_of(company)
    on_loop(send_message(member=member, room_id=room_id, text="hello", generate=False))
    return room_id


def _shared(company: Company) -> Made:
    room_id = _allowed(company)
    made = on_loop(share_branch(member=company.owner.principal, room_id=room_id, days=1))
    return Made(ids={"room_id": room_id, "share_id": made.share.id, "token": made.token})  # type: ignore[dict-item]


CALLS = (
    Call(
        "POST",
        "rooms/<uuid:room_id>/shares",
        lambda company: Made(ids={"room_id": _allowed(company)}, body={}),
        status=201,
        private=True,
    ),
    Call(
        "GET",
        "rooms/<uuid:room_id>/shares",
        lambda company: Made(ids={"room_id": _allowed(company)}),
        private=True,
    ),
    Call("DELETE", "rooms/<uuid:room_id>/shares/<uuid:share_id>", _revocable, status=204, private=True),
    Call("GET", "shared/<str:token>", _shared, public=True),
    Call("PATCH", "rooms/<uuid:room_id>/mine", _mine, private=True),
    Call("GET", "room-policy"),
    Call("PATCH", "room-policy", lambda company: Made(body={"retention_days": 3650})),
)
