"""What becomes of a member's rooms, presets and prompts when they are removed from the tenant."""

import uuid

from chat.services import library
from chat.services.members import leave_all_rooms
from chat.services.presets import PRESETS
from chat.services.prompts import PROMPTS
from kernel.loop import on_loop
from kernel.outbox import Message


def pass_rooms_on(message: Message) -> None:
    """Rooms with others in them pass to those. Done again, it finds nothing more to do."""
    on_loop(leave_all_rooms(message.tenant_id, uuid.UUID(str(message.payload["membership"]))))


def pass_library_on(message: Message) -> None:
    """What they shared passes to whoever removed them. Done again, it finds nothing more to do."""
    gone, by = uuid.UUID(str(message.payload["membership"])), message.payload.get("by")
    to = uuid.UUID(str(by)) if by else None
    on_loop(library.pass_on(PRESETS, message.tenant_id, gone, to=to))
    on_loop(library.pass_on(PROMPTS, message.tenant_id, gone, to=to))
