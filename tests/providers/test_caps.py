"""What becomes of a request whose answer may be no longer than its budget allows."""

import pytest

from providers.pipeline.hold import capped
from tests.providers.conftest import ask

pytestmark = pytest.mark.no_database


@pytest.mark.parametrize(
    ("asked", "budget", "cap", "left"),
    [
        (16_000, 10_000, 16_000, 10_000),
        (16_000, 10_000, 12_000, 10_000),
        (16_000, 10_000, 10_000, 5_000),
        (16_000, 10_000, 2_048, 1_024),
        (16_000, 10_000, 2_047, None),
        # So may those ask who let thoughts come between calls.
        (4_000, 10_000, 4_000, 10_000),
        (None, 10_000, 9_000, 10_000),
        (16_000, None, 100, None),
    ],
)
def test_thoughts_fit_into_an_answer_that_has_to_be_shorter(
    asked: int | None, budget: int | None, cap: int, left: int | None
) -> None:
    request = ask(max_output_tokens=asked, reasoning_budget=budget)
    fitted = capped(request, cap)
    assert (fitted.max_output_tokens, fitted.reasoning_budget) == (cap, left)
