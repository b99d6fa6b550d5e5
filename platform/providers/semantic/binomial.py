"""The upper bound of a share, from how often something was seen.

Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial" (1934): the
largest share for which seeing so few is not yet surprising."""

import math

CONFIDENCE = 0.95
"""One-sided."""
_STEPS = 60


def upper_bound(count: int, among: int, *, confidence: float = CONFIDENCE) -> float:
    """With that confidence, the true share is no more than this, when `count` were seen `among` so many."""
    if count >= among:
        return 1.0
    low, high = count / among, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if at_most(count, among, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def at_most(count: int, among: int, share: float) -> float:
    """The chance of seeing `count` or fewer among so many, if each is seen with the chance `share`."""
    if share <= 0:
        return 1.0
    if share >= 1:
        return 0.0
    total, log_share, log_rest = 0.0, math.log(share), math.log1p(-share)
    for seen in range(count + 1):
        ways = math.lgamma(among + 1) - math.lgamma(seen + 1) - math.lgamma(among - seen + 1)
        total += math.exp(ways + seen * log_share + (among - seen) * log_rest)
    return min(1.0, total)
