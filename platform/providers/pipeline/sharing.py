"""What one process learns of a deployment, the others know within a second.

Each process keeps its own breakers and tells the others, in one Redis hash, of those that are not closed and of pauses
that providers asked for. Without Redis each goes by what it sees itself. Times in the hash are those of the wall clock,
and are bounded by whoever reads them: a wrong clock shuts out nobody for longer than the breaker's longest period."""

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from providers.pipeline.breaker import BreakerState
from providers.pipeline.health import DeploymentHealth, Health

KEY = "parley:deployments"
KEPT_S = 600.0
"""A word older than this is nobody's any more."""
MAX_WORDS = 10_000

Shared = Literal["open", "ramping", "closed"]
SHARED: Mapping[BreakerState, Shared] = {"open": "open", "ramping": "ramping"}


class Word(msgspec.Struct, frozen=True):
    """What a process `by` says of a deployment since `at`: open until `until`, or ramping since then; paused until."""

    at: float
    by: str
    state: Shared
    until: float = 0.0
    times_opened: int = 0
    paused_until: float = 0.0
    error: str | None = None


def read_word(said: bytes) -> Word | None:
    """A word as it is kept; None for what is none."""
    try:
        return _decode(said)
    except msgspec.DecodeError:
        return None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Word).decode


class Sharing:
    """One process's side: what to tell (`news`), and what to make of what others told (`learn`)."""

    def __init__(self, health: Health, *, wall: Callable[[], float] = time.time) -> None:
        self._health = health
        self._wall = wall
        self._me = uuid.uuid4().hex
        self._told: dict[uuid.UUID, Word] = {}
        self._heard: dict[uuid.UUID, float] = {}

    def news(self) -> dict[str, bytes]:
        """What has changed since it was last asked for, by deployment."""
        found: dict[str, bytes] = {}
        for known in self._health.troubled():
            word = self._word(known)
            told = self._told.get(known.id)
            well = word.state == "closed" and not word.paused_until
            if (told is not None or not well) and (told is None or _differ(told, word)):
                self._told[known.id] = word
                found[str(known.id)] = _encode(word)
            if well:
                self._told.pop(known.id, None)
                self._health.recovered(known)
        return found

    def tell_again(self) -> None:
        """What was told may not have been heard."""
        self._told.clear()

    def learn(self, words: Mapping[bytes, bytes]) -> list[str]:
        """Take in what all processes say. Returns the deployments whose words are too old to be kept."""
        stale: list[str] = []
        now = self._wall()
        for name, said in words.items():
            try:
                deployment_id, word = uuid.UUID(name.decode()), _decode(said)
            except (ValueError, msgspec.DecodeError):
                stale.append(name.decode("latin-1"))
                continue
            if not now - KEPT_S < word.at < now + KEPT_S:
                stale.append(name.decode())
                continue
            if word.by == self._me or word.at <= self._heard.get(deployment_id, 0.0):
                continue
            self._heard[deployment_id] = word.at
            self._apply(self._health.of(deployment_id), word, now)
        self._heard = {known: at for known, at in self._heard.items() if at > now - KEPT_S}
        return stale

    def _apply(self, known: DeploymentHealth, word: Word, now: float) -> None:
        told = self._told.get(known.id)
        if told is not None and told.at > word.at:
            return
        if word.paused_until > now:
            known.pause(word.paused_until - now)
        if word.state == "open" and word.until > now:
            known.breaker.learn_open(left_s=word.until - now, times_opened=word.times_opened)
        elif word.state == "ramping":
            known.breaker.learn_ramping(ramped_s=now - word.until)
        self._health.in_trouble(known)
        # What was learned isn't told again.
        self._told[known.id] = msgspec.structs.replace(self._word(known), at=word.at)

    def _word(self, known: DeploymentHealth) -> Word:
        now = self._wall()
        state = SHARED.get(known.breaker.state, "closed" if known.breaker.state == "closed" else "open")
        until = now - known.breaker.ramped_s if state == "ramping" else now + known.breaker.open_left_s
        pause_s = known.pause_left_s
        return Word(
            at=now,
            by=self._me,
            state=state,
            until=0.0 if state == "closed" else until,
            times_opened=known.breaker.times_opened,
            paused_until=now + pause_s if pause_s else 0.0,
            error=known.last_error.code if known.last_error else None,
        )


def _differ(told: Word, word: Word) -> bool:
    """Whether there is something to tell. HALF_OPEN is told of as the end of OPEN, which everybody knows already."""
    if (told.state, told.times_opened) != (word.state, word.times_opened):
        return True
    sooner = word.state == "open" and word.until < told.until - 0.5 and told.until > word.at
    return sooner or abs(told.paused_until - word.paused_until) > 0.5
