"""The bench of resumes, short: faults of all kinds, and nothing is lost or repeated."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import pytest

from bench import resume
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.stack import Stack

pytestmark = [pytest.mark.no_database, pytest.mark.timeout(300)]
FAULTS = 100


@dataclass
class InTurn(resume.World):
    """What strikes everybody comes often, and each in its turn, so that few faults have all of them."""

    shared_every: int = 12
    _turns: Iterator[str] = field(default_factory=lambda: cycle(("kill", "postgres", "connections", "flush")))

    def choose(self, chance: random.Random) -> str:
        return next(self._turns)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stack]:
    """A platform with a PostgreSQL and a Valkey of its own, which other tests don't miss, and two web processes."""
    stack = Stack(tmp_path, "--workers", "2", "--no-local-model").start()
    yield stack
    stack.stop()


async def test_streams_survive_whatever_happens_to_them(own: Stack, upstream: OpenAIUpstream) -> None:
    world = resume.world_of(own, upstream, InTurn)
    tally = await resume.storm(world, resume.tokens_of(own, 3), faults=FAULTS, seed=5)
    assert tally.wrong == []
    assert tally.total >= FAULTS
    assert set(tally.faults) == {*resume.OWN, *resume.SHARED}
    assert tally.characters > 0
