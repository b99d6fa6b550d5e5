"""Which credit pays: what was used is drawn from grants by (priority, expiry, id), always the same way."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Pot:
    """What is left of one grant."""

    id: uuid.UUID
    priority: int
    expires_at: datetime | None
    left_nano: int

    @property
    def rank(self) -> tuple[int, datetime, uuid.UUID]:
        """The lowest is drawn from first."""
        return self.priority, self.expires_at or _NEVER, self.id


def draw(amount_nano: int, pots: Iterable[Pot]) -> tuple[Mapping[uuid.UUID, int], int]:
    """What is drawn from each pot, and how much of `amount_nano` none of them covers."""
    drawn: dict[uuid.UUID, int] = {}
    for pot in sorted(pots, key=lambda one: one.rank):
        taken = min(amount_nano, pot.left_nano)
        if taken > 0:
            drawn[pot.id] = taken
            amount_nano -= taken
    return drawn, amount_nano
