"""What calls of rooms need made beforehand."""

import uuid

from django.db import transaction

from chat.models import Generation
from chat.services.messages import send_message
from chat.services.rooms import create_room
from kernel.ids import uuid7
from kernel.loop import on_loop
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
