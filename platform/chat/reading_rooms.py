"""Lists of rooms for those who are in them."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet

from chat.models import Room, RoomMember


def listed_rooms(membership_id: uuid.UUID, filters: Mapping[str, Any]) -> QuerySet[Room]:
    """The member's rooms; `filters` are `archived`, `kind`, `pinned` and `folder`, the last two as the member has them."""
    mine = RoomMember.objects.filter(membership=membership_id, left_at=None)
    if "pinned" in filters:
        mine = mine.filter(pinned_at__isnull=not filters["pinned"])
    if "folder" in filters:
        mine = mine.filter(folder=filters["folder"])
    found = Room.objects.filter(deleted_at=None, id__in=mine.values("room_id"))
    if "archived" in filters:
        found = found.filter(archived_at__isnull=not filters["archived"])
    return found.filter(kind=filters["kind"]) if "kind" in filters else found
