"""A message has one author; a generation's lease belongs to its status; a member is in a room once."""

from typing import Any

from tests.isolation.rows import Making, insert


def _new_room(making: Making) -> Any:
    room = making.factory.values("chat_room", making.tenant_id)
    insert(making.factory.connection, "chat_room", room)
    # Its foreign keys are checked now: the table may be altered later in this transaction.
    making.factory.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    making.factory.connection.execute("SET CONSTRAINTS ALL DEFERRED")
    return room["id"]


ROWS: dict[str, dict[str, Any]] = {
    "chat_roommember": {"room_id": _new_room},
    "chat_message": {
        "author_kind": "member",
        "author_membership_id": lambda making: making.row("tenants_membership")["id"],
        "model": "",
    },
    "chat_generation": {"status": "queued"},
    "chat_roomevent": {"seq": lambda making: making.number},
}
