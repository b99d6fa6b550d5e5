"""Values that the catalogue can't tell: a message has one author, a room's member and a receipt are one of their kind."""

from typing import Any

from tests.isolation import rows_chat_files as files
from tests.isolation.rows import Making, insert


def _new_membership(making: Making) -> Any:
    row = making.factory.values("tenants_membership", making.tenant_id)
    insert(making.factory.connection, "tenants_membership", row)
    return row["id"]


def _new_message(making: Making) -> Any:
    row = making.factory.values("chat_message", making.tenant_id)
    insert(making.factory.connection, "chat_message", row)
    return row["id"]


ROWS: dict[str, dict[str, Any]] = {
    "chat_roommember": {"membership_id": _new_membership},
    "chat_roompolicy": {"name": lambda making: f"p{making.number}"},
    "chat_reaction": {"emoji": lambda making: f"e{making.number}"},
    "chat_feedback": {"membership_id": _new_membership},
    "chat_summary": {"until_id": _new_message},
    "chat_message": {
        "author_kind": "member",
        "author_membership_id": lambda making: making.row("tenants_membership")["id"],
    },
    **files.ROWS,
}

POINTING: dict[str, dict[str, Any]] = {**files.POINTING}
