"""The messages that `bench.search` looks through: made of one vocabulary that all tenants share, by a seed."""

import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

VOCABULARY = 50_000
ZIPF = 1.0
WORDS_MEDIAN, WORDS_SIGMA, WORDS_MAX = 22, 0.9, 400
MESSAGES_PER_ROOM = 500
PEOPLE_MAX = 200
CANARY_EVERY = 1_000
_SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstvwxz" for vowel in "aeiou"]
_CHUNK = 20_000


@dataclass
class World:
    """One tenant: its rooms and who is in them. `members[0]` is in all rooms, the others in a few."""

    tenant: uuid.UUID
    slug: str
    members: list[uuid.UUID]
    people: list[uuid.UUID]
    rooms: list[uuid.UUID] = field(default_factory=list)
    rooms_of: dict[uuid.UUID, list[uuid.UUID]] = field(default_factory=dict)
    canaries: list[str] = field(default_factory=list)
    messages: int = 0


def vocabulary(dice: random.Random) -> list[str]:
    """Words, the most frequent first, and shorter."""
    words: dict[str, None] = {}
    while len(words) < VOCABULARY:
        count = 1 if len(words) < 20 else 2 if len(words) < 600 else 3 if len(words) < 12_000 else 4
        words["".join(dice.choice(_SYLLABLES) for _ in range(count))] = None
    return list(words)


def people_rooms(world: World, *, messages: int, dice: random.Random) -> None:
    """Give a tenant rooms, and its people places in them: one in all, some in many, most in a few."""
    world.rooms = [new_id(place, dice) for place in range(max(3, messages // MESSAGES_PER_ROOM))]
    world.rooms_of = {member: [] for member in world.members}
    for room in world.rooms:
        others = dice.sample(world.members[1:], k=min(len(world.members) - 1, 1 + int(dice.expovariate(1 / 6))))
        for member in [world.members[0], *others]:
            world.rooms_of[member].append(room)


def new_id(millisecond: int, dice: random.Random) -> uuid.UUID:
    """A UUIDv7 of that millisecond since 2026 began."""
    at = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000) + millisecond
    value = (at & (1 << 48) - 1) << 80 | 7 << 76 | dice.getrandbits(12) << 64 | 2 << 62 | dice.getrandbits(62)
    return uuid.UUID(int=value)


def rows(worlds: Sequence[tuple[World, int]], words: Sequence[str], *, seed: int) -> Iterator[tuple[Any, ...]]:
    """So many messages of each tenant, all mixed, oldest first: `(tenant, id, room, author, text, at)`."""
    dice, chance = random.Random(seed), np.random.default_rng(seed)
    order = np.repeat(np.arange(len(worlds)), [count for _, count in worlds])
    chance.shuffle(order)
    # Rooms are of very different sizes.
    weights = [_shares(len(world.rooms), 0.7, chance) for world, _ in worlds]
    shares = _shares(len(words), ZIPF, None)
    vocabulary = np.array(words, dtype=object)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for begin in range(0, len(order), _CHUNK):
        chunk = order[begin : begin + _CHUNK]
        lengths = np.clip(chance.lognormal(np.log(WORDS_MEDIAN), WORDS_SIGMA, len(chunk)), 1, WORDS_MAX).astype(int)
        said = vocabulary[chance.choice(len(words), size=int(lengths.sum()), p=shares)]
        at = 0
        for offset, (place, length) in enumerate(zip(chunk, lengths, strict=True)):
            world = worlds[place][0]
            room = world.rooms[int(np.searchsorted(weights[place], chance.random()))]
            text = " ".join(said[at : at + length])
            at += length
            if world.messages % CANARY_EVERY == 0:
                canary = f"canary{dice.getrandbits(48):012x}"
                world.canaries.append(canary)
                text = f"{text} {canary}"
            world.messages += 1
            moment = (begin + offset) * 20
            author = dice.choice(world.members)
            yield world.tenant, new_id(moment, dice), room, author, text, start + timedelta(milliseconds=moment)


def _shares(count: int, exponent: float, chance: np.random.Generator | None) -> npt.NDArray[np.float64]:
    """Zipf's law: each word's share; or, with `chance`, rooms' running sums in random order."""
    weights = 1.0 / np.arange(1, count + 1) ** exponent
    if chance is None:
        return np.asarray(weights / weights.sum())
    chance.shuffle(weights)
    return np.asarray(np.cumsum(weights / weights.sum()))
