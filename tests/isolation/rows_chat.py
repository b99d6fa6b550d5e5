"""Values that the catalogue can't tell: a message has one author, a room's member and a receipt are one of their kind."""

from typing import Any

from tests.isolation.rows import Making, insert


def _new_membership(making: Making) -> Any:
    row = making.factory.values("tenants_membership", making.tenant_id)
    insert(making.factory.connection, "tenants_membership", row)
    return row["id"]


ROWS: dict[str, dict[str, Any]] = {
    "chat_roommember": {"membership_id": _new_membership},
    "chat_message": {
        "author_kind": "member",
        "author_membership_id": lambda making: making.row("tenants_membership")["id"],
    },
}
