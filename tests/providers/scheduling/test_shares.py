"""Who floods leaves free what the others need, and who is alone may have everything. Time is simulated."""

import pytest

from providers.scheduling.fair_queue import Class
from providers.scheduling.shares import WINDOW_S, Shares

pytestmark = pytest.mark.no_database

LIMIT = 40
Use = tuple[Class, str, int]


def used(*uses: Use, windows: int = 8) -> Shares:
    """As many slots of each class and tenant have been held for some windows, and still are."""
    shares = Shares(now_s=0.0)
    for rank, tenant, slots in uses:
        for _ in range(slots):
            shares.took(rank, tenant, now_s=0.0)
    pass_time(shares, windows, start_s=0.0)
    return shares


def pass_time(shares: Shares, windows: int, *, start_s: float) -> None:
    for number in range(1, windows + 1):
        now_s = start_s + number * WINDOW_S
        shares.took(Class.INTERACTIVE, "clock", now_s=now_s)
        shares.gave(Class.INTERACTIVE, "clock", now_s=now_s)


def most(shares: Shares, rank: Class, tenant: str, *, others: int, limit: int = LIMIT) -> int:
    """How many a tenant can come to hold in all while others hold so many; those it has already are given back first."""
    held = 0
    while held + others < limit and shares.allows(rank, tenant, limit=limit, in_flight=held + others):
        shares.took(rank, tenant, now_s=100.0)
        held += 1
    return held


def test_who_is_alone_may_have_everything() -> None:
    assert most(Shares(now_s=100.0), Class.NORMAL, "a", others=0) == LIMIT


def test_who_floods_leaves_what_the_other_needs() -> None:
    shares = used((Class.NORMAL, "small", 8))
    assert most(shares, Class.NORMAL, "flood", others=8) == 23, "40 less 8 and three times its root"


def test_who_needs_less_finds_a_slot_beside_one_who_floods() -> None:
    shares = used((Class.NORMAL, "flood", 23), (Class.NORMAL, "small", 8))
    assert shares.allows(Class.NORMAL, "small", limit=LIMIT, in_flight=31)
    assert not shares.allows(Class.NORMAL, "flood", limit=LIMIT, in_flight=31)


def test_batch_leaves_what_those_above_it_need_and_they_leave_nothing_for_it() -> None:
    assert most(used((Class.NORMAL, "a", 8)), Class.BATCH, "a", others=8) == 23
    assert most(used((Class.BATCH, "a", 20)), Class.NORMAL, "a", others=0) == LIMIT


def test_as_many_as_half_of_the_limit_are_for_everybody() -> None:
    shares = used((Class.INTERACTIVE, "a", 40))
    assert most(shares, Class.BATCH, "b", others=0) >= LIMIT // 2


def test_what_was_kept_for_one_who_went_away_is_free_again() -> None:
    shares = used((Class.NORMAL, "small", 8))
    for _ in range(8):
        shares.gave(Class.NORMAL, "small", now_s=8 * WINDOW_S)
    pass_time(shares, 12, start_s=8 * WINDOW_S)
    assert most(shares, Class.NORMAL, "flood", others=0) == LIMIT
