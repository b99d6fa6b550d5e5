"""Who is next, whatever comes and goes in whatever order."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from providers.scheduling.fair_queue import PATIENCE, Class, FairQueue, Waiting

pytestmark = pytest.mark.no_database

ranks = st.sampled_from(Class)
tenants = st.sampled_from("abcd")


def add(queue: FairQueue[int], item: int, *, tenant: str = "a", rank: Class = Class.NORMAL) -> Waiting[int]:
    waiting = Waiting(item, tenant=tenant, rank=rank)
    queue.add(waiting)
    return waiting


def items(queue: FairQueue[int], count: int) -> list[int]:
    taken = [queue.pop() for _ in range(count)]
    return [waiting.item for waiting in taken if waiting]


def test_one_request_is_not_behind_anothers_thousand() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(1000):
        add(queue, number, tenant="flood")
    add(queue, -1, tenant="small")
    assert items(queue, 3) == [0, -1, 1]


def test_tenants_take_turns_and_each_keeps_its_order() -> None:
    queue: FairQueue[int] = FairQueue()
    for number in range(9):
        add(queue, number, tenant="abc"[number // 3])
    assert items(queue, 9) == [0, 3, 6, 1, 4, 7, 2, 5, 8]


def test_interactive_goes_first_and_the_others_are_not_forgotten() -> None:
    queue: FairQueue[int] = FairQueue()
    for rank in Class:
        for _ in range(500):
            add(queue, rank, rank=rank)
    turns = Counter(items(queue, 220))
    assert turns[Class.BATCH] == 220 // (PATIENCE[Class.BATCH] + 2)
    assert 220 // 6 <= turns[Class.NORMAL] <= 220 // 5
    assert turns[Class.INTERACTIVE] > 160


def test_a_class_that_may_not_go_is_passed_by() -> None:
    queue: FairQueue[int] = FairQueue()
    add(queue, 1, rank=Class.BATCH)
    assert queue.pop(Class.NORMAL) is None
    assert len(queue) == 1
    assert items(queue, 1) == [1]


class Model(RuleBasedStateMachine):
    """Against lists that are searched from end to end."""

    @initialize()
    def begin(self) -> None:
        self.queue: FairQueue[int] = FairQueue()
        self.known: list[Waiting[int]] = []
        self.served_since: dict[Waiting[int], Counter[str]] = {}
        self.number = 0

    @rule(tenant=tenants, rank=ranks)
    def arrive(self, tenant: str, rank: Class) -> None:
        self.number += 1
        waiting = add(self.queue, self.number, tenant=tenant, rank=rank)
        self.known.append(waiting)
        self.served_since[waiting] = Counter()

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.known:
            waiting = data.draw(st.sampled_from(self.known))
            assert self.queue.remove(waiting)
            assert not self.queue.remove(waiting)
            self.known.remove(waiting)

    @rule(lowest=ranks)
    def serve(self, lowest: Class) -> None:
        waiting = self.queue.pop(lowest)
        allowed = [known for known in self.known if known.rank <= lowest]
        if waiting is None:
            assert not allowed
            return
        same_class = [known for known in allowed if known.rank == waiting.rank]
        lane = [known for known in same_class if known.tenant == waiting.tenant]
        assert waiting is lane[0], "first come, first served within a lane"
        self.known.remove(waiting)
        for other in same_class:
            if other.tenant != waiting.tenant:
                self.served_since[other][str(waiting.tenant)] += 1
        fronts = {known.tenant: known for known in reversed(same_class)}
        for tenant, front in fronts.items():
            if tenant != waiting.tenant and self.served_since[front][str(waiting.tenant)] > 1:
                # It may have become the front of its lane only now; then its turn counts from here.
                ahead = sum(self.served_since[front].values())
                lanes = len(fronts)
                position = 1 + max(self.served_since[front].values())
                assert ahead <= lanes * position, "no tenant is passed over in its class"

    @invariant()
    def counts(self) -> None:
        if not hasattr(self, "queue"):
            return
        assert len(self.queue) == len(self.known)
        assert self.queue.tenants == len({known.tenant for known in self.known})
        for rank in Class:
            of_class = [known for known in self.known if known.rank == rank]
            assert self.queue.count(rank) == len(of_class)
            assert self.queue.tenants_in(rank) == len({known.tenant for known in of_class})
            for tenant in "abcd":
                assert self.queue.in_lane(tenant, rank) == sum(known.tenant == tenant for known in of_class)
        for tenant in "abcd":
            assert self.queue.of_tenant(tenant) == sum(known.tenant == tenant for known in self.known)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@settings(deadline=None)
@given(st.lists(st.tuples(tenants, ranks), min_size=1, max_size=60))
def test_nobody_waits_longer_than_their_class_and_tenant_allow(arrivals: list[tuple[str, Class]]) -> None:
    """Within a class, between two turns of one tenant no other has more than one; every class has its guaranteed turns."""
    queue: FairQueue[int] = FairQueue()
    for number, (tenant, rank) in enumerate(arrivals):
        add(queue, number, tenant=tenant, rank=rank)
    taken = [queue.pop() for _ in arrivals]
    assert queue.pop() is None
    order = [waiting for waiting in taken if waiting]
    assert sorted(waiting.item for waiting in order) == list(range(len(arrivals)))
    for rank in Class:
        turns = [waiting.tenant for waiting in order if waiting.rank == rank]
        for tenant in set(turns):
            mine = [at for at, other in enumerate(turns) if other == tenant]
            for start, end in zip([-1, *mine], mine, strict=False):
                between = Counter(turns[start + 1 : end])
                assert all(count == 1 for count in between.values())
        at = [place for place, waiting in enumerate(order) if waiting.rank == rank]
        gaps = [end - start - 1 for start, end in zip([-1, *at], at, strict=False)]
        limit = PATIENCE[rank] + (rank is Class.BATCH)
        assert rank is Class.INTERACTIVE or all(gap <= limit for gap in gaps)
