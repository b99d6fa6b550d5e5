"""Limits tighten while the event loop is late, and relax step by step."""

import pytest

from providers.limits.overload import LEAST, RELAX_BELOW_S, RELAX_EVERY_S, RELAX_STEP, TIGHTEN_FROM_S, Overload

pytestmark = pytest.mark.no_database


def test_a_process_that_keeps_up_tightens_nothing() -> None:
    overload = Overload()
    assert [overload.observe(lag, now_s=0.0) for lag in (0.0, RELAX_BELOW_S, TIGHTEN_FROM_S)] == [1.0, 1.0, 1.0]


def test_the_later_the_loop_the_less_is_let_through_down_to_a_quarter() -> None:
    factors = [Overload().observe(lag, now_s=0.0) for lag in (0.06, 0.1, 0.3, 0.5, 5.0)]
    assert factors == sorted(factors, reverse=True)
    assert factors[0] < 1.0
    assert factors[-2:] == [LEAST, LEAST]


def test_it_tightens_at_once_and_relaxes_a_step_a_second() -> None:
    overload = Overload()
    assert overload.observe(1.0, now_s=10.0) == LEAST
    assert overload.observe(0.0, now_s=10.0 + RELAX_EVERY_S / 2) == LEAST
    assert overload.observe(0.0, now_s=10.0 + RELAX_EVERY_S) == pytest.approx(LEAST + RELAX_STEP)
    assert overload.observe(0.0, now_s=10.5 + RELAX_EVERY_S) == pytest.approx(LEAST + RELAX_STEP)
    for second in range(2, 20):
        factor = overload.observe(0.0, now_s=10.0 + RELAX_EVERY_S * second)
    assert factor == 1.0


def test_between_the_two_latenesses_it_stays_as_it_is() -> None:
    """So it doesn't swing: what tightened it has to be well over."""
    overload = Overload()
    tightened = overload.observe(0.3, now_s=0.0)
    between = (RELAX_BELOW_S + TIGHTEN_FROM_S) / 2
    assert [overload.observe(between, now_s=float(second)) for second in range(1, 60)] == [tightened] * 59


def test_a_little_lateness_undoes_no_great_tightening() -> None:
    overload = Overload()
    overload.observe(1.0, now_s=0.0)
    assert overload.observe(TIGHTEN_FROM_S + 0.01, now_s=5.0) == LEAST
    assert overload.observe(0.0, now_s=5.5) == LEAST
