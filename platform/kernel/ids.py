"""Identifiers: UUIDv7 (RFC 9562), made in Python, so that a row's id is known before it is inserted."""

import uuid

import uuid_utils

NIL = uuid.UUID(int=0)
"""Less than every other."""


def uuid7() -> uuid.UUID:
    """A new UUIDv7; ids made by one process rise strictly, also within a millisecond."""
    return uuid.UUID(int=uuid_utils.uuid7().int)


def uuid7s(count: int, *, after: uuid.UUID = NIL) -> tuple[uuid.UUID, ...]:
    """So many ids, rising, each greater than `after`: also where the clock of whoever made that one is ahead of this one."""
    made = tuple(uuid7() for _ in range(count))
    if not made or made[0] > after:
        return made
    return tuple(uuid.UUID(int=after.int + 1 + number) for number in range(count))


def uuid7_floor(unix_ms: int) -> uuid.UUID:
    """The least UUIDv7-ordered value of the millisecond `unix_ms` (since 1970): a range's lower bound."""
    return uuid.UUID(int=(unix_ms & 0xFFFF_FFFF_FFFF) << 80)


def unix_ms(value: uuid.UUID) -> int:
    """The millisecond since 1970 at which a UUIDv7 was made."""
    return value.int >> 80


def parse_uuid(text: str) -> uuid.UUID | None:
    """The UUID that `text` spells in its canonical form, else None."""
    if len(text) != 36:
        return None
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
