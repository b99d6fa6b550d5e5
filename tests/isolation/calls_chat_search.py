"""Example calls of search."""

from chat.services.messages import send_message
from chat.services.rooms import create_room
from kernel.loop import on_loop
from tests.isolation.calls import Call, Made
from tests.support.cast import Company


def _said(company: Company) -> Made:
    member = company.owner.principal
    room_id = on_loop(create_room(member=member, kind="private", title="Found")).id
    sent = on_loop(send_message(member=member, room_id=room_id, text="a needle in the hay", generate=False))
    return Made(listed=(sent.message.id, room_id))


CALLS = (Call("GET", "messages/search", _said, query="q=needle&limit=50"),)
