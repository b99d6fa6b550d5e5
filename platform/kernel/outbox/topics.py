"""Which topics there are, and who gets their messages."""

import random
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Message:
    """What a consumer gets. `attempt` counts from 1; `is_last` says that no further one follows by itself."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    topic: str
    payload: Mapping[str, object]
    attempt: int
    is_last: bool
    created_at: datetime


class Failed(Exception):
    """An attempt failed. The reason is kept for operators: it holds no secret. `again_after_s` overrides the schedule's
    delay, not its number of attempts."""

    def __init__(self, reason: str, *, again_after_s: float | None = None) -> None:
        self.reason = reason
        self.again_after_s = again_after_s
        super().__init__(reason)


class GiveUp(Failed):
    """It will never succeed: the message is dead at once."""


class Later(Exception):
    """It can't be tried now. This was no attempt."""

    def __init__(self, *, after_s: float) -> None:
        self.after_s = after_s
        super().__init__(f"after {after_s} s")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a failed attempt is followed by the next: after each of `delays_s`, ± 20 % so that what failed together doesn't
    come back together."""

    delays_s: tuple[float, ...]

    @property
    def attempts(self) -> int:
        """How many there are."""
        return len(self.delays_s) + 1

    def delay_s(self, attempt: int) -> float | None:
        """How long to wait after this attempt; None after the last."""
        if attempt > len(self.delays_s):
            return None
        return self.delays_s[attempt - 1] * random.uniform(0.8, 1.2)  # noqa: S311 - nothing secret


USUAL = Schedule((1, 5, 30, 120, 600, 1800, 3600, 3600, 3600, 7200, 7200, 14_400))
"""About half a day."""

Consumer = Callable[[Message], None]
Sender = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Sending:
    """A topic's sender, and how many of its messages one process sends at once: of all tenants, and of one."""

    send: Sender
    at_once: int
    at_once_of_tenant: int


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic has consumers, or one sender."""

    name: str
    schedule: Schedule = USUAL
    consumers: Mapping[str, Consumer] = field(default_factory=dict)
    sending: Sending | None = None


_topics: dict[str, Topic] = {}


def consumed_by(topic: str, name: str, consumer: Consumer) -> None:
    """Have `consumer`, under its lasting `name`, get the messages of a topic, each in a transaction of its tenant's."""
    known = _topics.get(topic, Topic(topic))
    if known.sending is not None or name in known.consumers:
        raise ValueError(f"the topic {topic} has its sender, or a consumer {name}, already")
    _topics[topic] = Topic(topic, known.schedule, {**known.consumers, name: consumer})


def sent_by(
    topic: str, sender: Sender, *, schedule: Schedule = USUAL, at_once: int = 32, at_once_of_tenant: int = 8
) -> None:
    """Have the messages of a topic sent by `sender`, outside of any transaction."""
    if topic in _topics:
        raise ValueError(f"the topic {topic} has consumers already")
    _topics[topic] = Topic(topic, schedule, sending=Sending(sender, at_once, at_once_of_tenant))


def find(topic: str) -> Topic | None:
    """The topic of that name; None where no app of this version has it."""
    return _topics.get(topic)
