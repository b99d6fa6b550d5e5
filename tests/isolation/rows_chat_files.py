"""A file waits for a message, and expires, or is in a room."""

from datetime import UTC, datetime, timedelta
from typing import Any

ROWS: dict[str, dict[str, Any]] = {
    "chat_transfer": {"kind": "import", "state": "queued", "format": ""},
    "chat_attachment": {"expires_at": lambda _: datetime.now(UTC) + timedelta(days=1)},
}

POINTING: dict[str, dict[str, Any]] = {"attachment_room_fk": {"expires_at": None}}
