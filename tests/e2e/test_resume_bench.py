"""The bench of resumes, short: faults of all kinds, and nothing is lost or repeated."""

import pytest

from bench import resume
from tests.e2e.conftest import MODEL
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.support.servers import database_url, redis_url
from tests.support.stack import Stack

pytestmark = pytest.mark.no_database
FAULTS = 100


async def test_streams_survive_whatever_happens_to_them(
    stack: Stack, upstream: OpenAIUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what strikes everybody only the flush: other tests share the platform, and its processes."""
    monkeypatch.setattr(resume, "MODEL", MODEL)
    monkeypatch.setattr(resume, "SHARED", ("flush",))
    monkeypatch.setattr(resume, "SHARED_EVERY", 10)
    world = resume.World(stack, upstream, database_url("test_e2e"), redis_url(1))
    tally = await resume.storm(world, resume.tokens_of(stack, 3), faults=FAULTS, seed=5)
    assert tally.wrong == []
    assert tally.total >= FAULTS
    assert len(tally.faults) == len(resume.OWN) + 1
    assert tally.characters > 0
