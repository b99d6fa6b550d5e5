"""Choose which branch of a room one reads. It is nobody else's business."""

import uuid

from chat import reading, selectors
from chat.access import access_room
from chat.services.writing import choose_branch
from chat.shapes import BranchShape
from chat.store import transaction
from kernel.errors import InvalidRequest
from tenants.principals import Principal


async def read_on_at(*, member: Principal, room_id: uuid.UUID, message_id: uuid.UUID | None) -> BranchShape:
    """From now on the member reads the branch of this message; None: wherever the room goes on.

    Raises `NotFound`, `PermissionDenied`, and `InvalidRequest` for a message that isn't in the room.
    """
    async with transaction(member.tenant_id) as connection:
        room = await access_room(connection, member=member, room_id=room_id)
        if message_id is not None and not await selectors.is_in_room(
            connection, room_id=room_id, message_id=message_id
        ):
            raise InvalidRequest("message: there is no such message in this room.", details={"param": "message"})
        await choose_branch(connection, room, message_id)
        return await reading.branch_of(connection, room)
