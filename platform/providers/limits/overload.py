"""Limits tighten while the event loop is late: a process that can't keep up lets less through, before it can't answer at all.

The factor falls from 1 to `LEAST` between two latenesses, at once; it rises again a step each second, and only below a lower
lateness, so that it doesn't swing.
"""

import time

TIGHTEN_FROM_S = 0.05
TIGHTEN_MOST_S = 0.5
RELAX_BELOW_S = 0.025
RELAX_EVERY_S = 1.0
RELAX_STEP = 0.1
LEAST = 0.25


class Overload:
    """How much of every limit is let through, from 1 down to `LEAST`."""

    def __init__(self) -> None:
        self.factor = 1.0
        self._relaxed_at = 0.0

    def observe(self, lag_s: float, *, now_s: float | None = None) -> float:
        """Take in how late the loop runs (smoothed); the factor in force."""
        if lag_s > TIGHTEN_FROM_S:
            share = min(1.0, (lag_s - TIGHTEN_FROM_S) / (TIGHTEN_MOST_S - TIGHTEN_FROM_S))
            self.factor = min(self.factor, 1.0 - share * (1.0 - LEAST))
            self._relaxed_at = time.monotonic() if now_s is None else now_s
        elif self.factor < 1.0 and lag_s < RELAX_BELOW_S:
            now = time.monotonic() if now_s is None else now_s
            if now - self._relaxed_at >= RELAX_EVERY_S:
                self.factor = min(1.0, self.factor + RELAX_STEP)
                self._relaxed_at = now
        return self.factor
