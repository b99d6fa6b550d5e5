"""When audits found more wrong answers than a stated rate lets chance make.

An e-detector of Shiryaev and Roberts' kind (Shin, Ramdas and Rinaldo, "E-detectors", 2023): for each of several higher
rates a sum of likelihood ratios against the stated one, begun anew at each audit, and their mean. While the true rate is at
most the stated one, an alarm comes no more often than once in `RUN_LENGTH` audits on average, however often one looks;
after a change for the worse, whenever it comes, the sum that fits the new rate grows with each audit. It takes 3 audits
where every answer became wrong, and at a stated rate of 2 % about 150 where one of ten did."""

import math
from collections.abc import Callable, Iterable

from providers.semantic.binomial import at_most

RUN_LENGTH = 10_000
"""Audits between two false alarms, on average and at least."""
_TIMES = (1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0)
_SURE = (0.5, 0.9)
CONFIDENCE = 0.95


def is_breached(wrongs: Iterable[bool], *, rate: float) -> bool:
    """Whether there was an alarm: `wrongs` says of each audit, the oldest first, whether the answer was wrong."""
    others = [rate * times for times in _TIMES if rate * times < _SURE[0]] + [sure for sure in _SURE if sure > rate]
    ratios = [(other / rate, (1 - other) / (1 - rate)) for other in others]
    sums = [0.0] * len(others)
    for wrong in wrongs:
        sums = [(before + 1) * (up if wrong else down) for before, (up, down) in zip(sums, ratios, strict=True)]
        if math.fsum(sums) / len(sums) >= RUN_LENGTH:
            return True
    return False


def interval(wrong: int, audits: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Between which rates the true one lies: the exact interval of Clopper and Pearson (1934), two-sided."""
    if audits == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if wrong == 0 else _root(lambda rate: 1 - at_most(wrong - 1, audits, rate), tail)
    high = 1.0 if wrong == audits else _root(lambda rate: 1 - at_most(wrong, audits, rate), 1 - tail)
    return low, high


def _root(rising: Callable[[float], float], wanted: float) -> float:
    """Where a function that rises from 0 to 1 between 0 and 1 has a value."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if rising(middle) < wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2
