"""A gate lets through what fits, makes the rest wait in order, and sends away at once who would wait for nothing."""

import pytest

from providers.scheduling.fair_queue import Class, Waiting
from providers.scheduling.gate import MAX_QUEUED, Gate
from providers.scheduling.limiter import Limiter

pytestmark = pytest.mark.no_database


class Office:
    """A gate, and those who came to it. They are named by number."""

    def __init__(self, *, slots: int, hold_s: float | None = 1.0) -> None:
        self.now_s = 0.0
        self.inside: list[str] = []
        self.gone: set[str] = set()
        self.ranks: dict[str, Class] = {}
        self.tenants: dict[str, str] = {}
        self.gate: Gate[str] = Gate(self._grant, now_s=0.0, limiter=Limiter(slots))
        if hold_s is not None:
            assert self.gate.enter(Class.NORMAL, tenant="a", now_s=self.now_s)
            self.gate.leave(Class.NORMAL, tenant="a", answered=False, held_s=hold_s, now_s=self.now_s)

    def _grant(self, name: str) -> bool:
        if name in self.gone:
            return False
        self.inside.append(name)
        return True

    def come(
        self, name: str, *, tenant: str = "a", rank: Class = Class.NORMAL, patience_s: float = 30.0
    ) -> Waiting[str] | str | None:
        """Who waits, or `in`; None for one who was sent away."""
        self.ranks[name], self.tenants[name] = rank, tenant
        if self.gate.enter(rank, tenant=tenant, now_s=self.now_s):
            self.inside.append(name)
            return "in"
        if self.gate.refusal(tenant=tenant, rank=rank, patience_s=patience_s, now_s=self.now_s):
            return None
        return self.gate.wait(name, tenant=tenant, rank=rank)

    def leave(self, name: str, *, held_s: float = 1.0) -> None:
        self.inside.remove(name)
        self.gate.leave(self.ranks[name], tenant=self.tenants[name], answered=False, held_s=held_s, now_s=self.now_s)


def test_who_comes_to_a_free_slot_does_not_wait() -> None:
    office = Office(slots=2)
    assert [office.come(name) for name in "12"] == ["in", "in"]
    assert isinstance(office.come("3"), Waiting)
    office.leave("1")
    assert office.inside == ["2", "3"]
    assert office.gate.in_flight == 2


def test_one_who_gave_up_leaves_no_hole() -> None:
    office = Office(slots=1)
    office.come("1")
    second, third = office.come("2"), office.come("3")
    assert isinstance(second, Waiting)
    assert isinstance(third, Waiting)
    office.gate.give_up(second)
    office.come("4")
    office.gone.add("3")
    office.leave("1")
    assert office.inside == ["4"], "2 gave up, and 3 was gone when its turn came"
    office.leave("4")
    assert office.gate.idle


def test_batch_leaves_a_slot_for_others() -> None:
    office = Office(slots=10)
    come = [office.come(f"b{number}", rank=Class.BATCH) for number in range(10)]
    assert come[:8] == ["in"] * 8
    assert all(isinstance(waiting, Waiting) for waiting in come[8:])
    assert [office.come(name, rank=Class.INTERACTIVE) for name in "12"] == ["in", "in"]
    assert isinstance(office.come("3", rank=Class.INTERACTIVE), Waiting)
    office.leave("b0")
    assert office.inside[-1] == "3", "interactive, though batch waited before it"
    office.leave("1")
    assert office.inside[-1] == "b8"


def test_batch_alone_works_even_at_one_slot() -> None:
    office = Office(slots=1)
    assert office.come("1", rank=Class.BATCH) == "in"


def test_a_full_queue_sends_away_and_says_for_how_long() -> None:
    office = Office(slots=10)
    for number in range(10):
        office.come(f"in{number}")
    for number in range(MAX_QUEUED):
        office.gate.wait(f"w{number}", tenant=f"t{number}", rank=Class.NORMAL)
    refusal = office.gate.refusal(tenant="new", rank=Class.NORMAL, patience_s=1000, now_s=0.0)
    assert refusal is not None
    assert not refusal.over_share
    assert refusal.retry_after_s >= 1


def test_who_floods_takes_half_of_the_queue_and_the_next_still_gets_in() -> None:
    office = Office(slots=1)
    office.come("in")
    answers = [office.come(f"{number}", tenant="flood", patience_s=1e6) for number in range(2 * MAX_QUEUED)]
    assert sum(answer is not None for answer in answers) == MAX_QUEUED // 2
    refusal = office.gate.refusal(tenant="flood", rank=Class.NORMAL, patience_s=1e6, now_s=0.0)
    assert refusal is not None
    assert refusal.over_share
    assert isinstance(office.come("one", tenant="small", patience_s=3.0), Waiting), "two turns away, not 501"
    assert isinstance(office.come("chat", tenant="flood", rank=Class.INTERACTIVE), Waiting)
    office.leave("in")
    assert office.inside == ["chat"]


def test_who_would_be_too_late_is_sent_away_at_once() -> None:
    """Two slots, held for a second each: two a second."""
    office = Office(slots=2)
    for number in range(22):
        office.come(f"{number}")
    assert len(office.gate.queue) == 20
    refusal = office.gate.refusal(tenant="a", rank=Class.NORMAL, patience_s=5.0, now_s=0.0)
    assert refusal is not None
    assert refusal.retry_after_s == pytest.approx(5.0), "10 too many, at two a second"
    assert not refusal.over_share, "nobody else waits"
    assert office.gate.refusal(tenant="a", rank=Class.NORMAL, patience_s=11.0, now_s=0.0) is None
    assert office.gate.refusal(tenant="b", rank=Class.NORMAL, patience_s=5.0, now_s=0.0) is None
    office.come("b1", tenant="b")
    refusal = office.gate.refusal(tenant="a", rank=Class.NORMAL, patience_s=5.0, now_s=0.0)
    assert refusal is not None
    assert refusal.over_share, "20 of 21 are its own"


def test_when_nothing_ends_any_more_fewer_are_let_wait() -> None:
    office = Office(slots=10, hold_s=0.1)
    for number in range(110):
        office.come(f"{number}")
    asked = {"tenant": "a", "rank": Class.NORMAL, "patience_s": 30.0}
    assert office.gate.refusal(**asked, now_s=0.0) is None  # type: ignore[arg-type]
    assert office.gate.refusal(**asked, now_s=60.0) is not None  # type: ignore[arg-type]


def test_an_hour_of_rest_is_no_silence() -> None:
    office = Office(slots=1)
    office.now_s = 3600.0
    office.come("1")
    assert office.gate.refusal(tenant="a", rank=Class.NORMAL, patience_s=2.0, now_s=3600.5) is None


def test_a_drowning_process_lets_nobody_wait() -> None:
    office = Office(slots=1)
    office.come("1")
    asked = {"tenant": "a", "rank": Class.INTERACTIVE, "patience_s": 30.0, "now_s": 0.0}
    assert office.gate.refusal(**asked, overload=0.9) is None  # type: ignore[arg-type]
    refusal = office.gate.refusal(**asked, overload=1.0)  # type: ignore[arg-type]
    assert refusal is not None
    assert not refusal.over_share


def test_a_limit_that_shrinks_lets_every_second_slot_go_on() -> None:
    office = Office(slots=20)
    for number in range(60):
        office.come(f"{number}")
    office.gate.limiter.limit = 10
    for number in range(10):
        office.leave(f"{number}")
    assert office.gate.in_flight == 15
    for number in range(10, 20):
        office.leave(f"{number}")
    assert office.gate.in_flight == 10


def test_a_limit_that_grows_lets_those_in_who_wait() -> None:
    office = Office(slots=1)
    for number in range(5):
        office.come(f"{number}")
    office.gate.limiter.limit = 3
    office.gate.let_in()
    assert office.inside == ["0", "1", "2"]
