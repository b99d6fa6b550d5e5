"""The bench of resumes, short: faults of all kinds, and nothing is lost or repeated."""

from itertools import chain, repeat

import pytest

from bench import resume
from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.servers import database_url, redis_url
from tests.support.stack import Stack
from tests.support.web_processes import has_died, may_die

pytestmark = [pytest.mark.no_database, pytest.mark.timeout(240)]
FAULTS = 100


async def test_streams_survive_whatever_happens_to_them(
    stack: Stack, upstream: OpenAIUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what strikes everybody only what other tests can bear: they share PostgreSQL, and hold connections to it."""
    strikes = chain(["kill"], repeat("flush"))
    monkeypatch.setattr(resume, "MODEL", MODEL)
    monkeypatch.setattr(resume, "SHARED_EVERY", 12)
    monkeypatch.setattr(resume.World, "choose", lambda *_: next(strikes))
    world = resume.World(stack, upstream, database_url("test_e2e"), redis_url(1))
    may_die(stack)
    tally = await resume.storm(world, resume.tokens_of(stack, 3), faults=FAULTS, seed=5)
    for name in world.ended:
        has_died(stack, name)
    assert tally.wrong == []
    assert tally.total >= FAULTS
    assert set(tally.faults) == {*resume.OWN, "kill", "flush"}
    assert tally.characters > 0
