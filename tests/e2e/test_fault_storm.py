"""500 random faults, of every upstream format and to every client format: see `tests.support.fault_storm`.

`bench/faults.py` is the same with 10,000."""

import os
import random

import pytest

from tests.e2e.conftest import TOTAL_S
from tests.support.fault_storm import Report, brewing
from tests.support.stack import Stack, Tenant

pytestmark = [pytest.mark.no_database, pytest.mark.timeout(240)]

FAULTS = 500
ROUTES = 150
AT_ONCE = 12
"""The platform of these tests gives an upstream two seconds, and shares two processors with what else is tested."""


@pytest.fixture(scope="module")
def storm(stack: Stack, tenant: Tenant) -> Report:
    seed = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(10**6))
    with brewing(stack, tenant, seed=seed, routes=ROUTES, total_s=TOTAL_S) as ready:
        report = ready.rage(FAULTS, at_once=AT_ONCE)
    print(f"FAULT_SEED={seed}: {len(report.calls)} requests in {report.took_s:.1f} s, {dict(report.ended)}")  # noqa: T201
    print(f"faults met: {dict(report.faults)}")  # noqa: T201
    return report


def test_nothing_is_wrong_after_500_random_faults(storm: Report) -> None:
    assert sum(one.met_a_fault for one in storm.calls) >= FAULTS
    assert not storm.problems, f"{len(storm.problems)} problems\n" + "\n".join(storm.problems[:20])


def test_the_storm_was_one(storm: Report) -> None:
    ended = {one.heard.ended for one in storm.calls}
    assert {"complete", "refused", "error frame"} <= ended
    assert {tried.format for one in storm.calls for tried in one.attempts} == {
        "openai-compatible", "anthropic", "gemini", "cohere", "ollama",
    }  # fmt: skip
    assert len(storm.faults) >= 20
