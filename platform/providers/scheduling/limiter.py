"""How many requests a deployment bears at a time, found out while it works.

Two signs say that it is too many. *Pushback*: the upstream refuses (429, 503, 529) or doesn't answer in time; then it is
fewer, at once. *Latency*: the median time to the first content is `TOLERANCE` times what it was at ease; then fewer are
tried, and kept only if that made answers quicker: if it didn't, the upstream is merely slower than it was. With neither
sign, and only while the limit is what holds requests back, it is more: by a tenth with each window, and by one with each
answer that begins while nearly all others have begun (nobody waits upstream), or, before the first window has ended, that
comes promptly. Now and then fewer are tried without a sign, because a crowd that was there from the beginning shows none.
Why so, and what it does in a simulation: docs/adr/0007-adaptive-concurrency.md.

Times are seconds of whatever clock the caller reads."""

from dataclasses import dataclass
from statistics import median
from typing import Literal

Signal = Literal["stream", "whole", "embed"]
"""What a time to the first content was measured on: only like is compared with like."""

START_LIMIT = 64
MIN_LIMIT = 1
MAX_LIMIT = 2_000
WINDOW_SAMPLES = 80
"""A decision is made on so many answers, or as many as the limit if that is more."""
MIN_SIGNAL_SAMPLES = 10
TOLERANCE = 1.5
QUICK_S = 0.1
"""What is quicker than this counts as just this: such differences are this process's, not the upstream's."""
GROWTH = 0.1
FEW_PENDING = 0.2
"""If no more than this part of what runs is still without a first content, then the upstream doesn't let it wait."""
CAREFUL_WITHIN = 0.15
"""So near to where it was last pushed back, the limit grows by one only."""
BACK_OFF = 0.7
PUSHBACK_SHARE = 0.05
"""More of a window's answers than this must be refusals: one stray refusal says nothing of the load."""
TRIAL_SHARE = 0.7
TRIAL_EVERY_WINDOWS = 30
FIRST_TRIAL_WINDOWS = 1
TRIAL_HELPS = 0.82
"""A trial whose median is below this share of the one before it says that requests were waiting upstream. (Were all of the time
waiting, seven tenths of the requests would take seven tenths of it.)"""
NO_EPOCH = -1
"""Of a request that starts while more run than may: what it meets is none of the present limit's doing."""


@dataclass(frozen=True, slots=True)
class _Before:
    """What was before a trial."""

    limit: int
    medians: dict[Signal, float]


class Limiter:
    """One deployment's limit. A request that starts takes `epoch` along and gives it back with what became of it; what started
    under an earlier limit says nothing about the present one."""

    def __init__(self, start: int = START_LIMIT) -> None:
        self.limit = start
        self.epoch = 0
        self._samples: dict[Signal, list[float]] = {}
        self._at_ease: dict[Signal, float] = {}
        self._answers = 0
        self._refusals = 0
        self._most_in_flight = 0
        self._windows_to_trial = FIRST_TRIAL_WINDOWS
        self._before: _Before | None = None
        self._refused_at: int | None = None
        self._starting = True

    def answered(self, first_s: float, *, signal: Signal, epoch: int, in_flight: int, pending: int) -> None:
        """A request had its first content after `first_s`; `in_flight` counts it too, `pending` those that had none yet."""
        if epoch != self.epoch:
            return
        first_s = max(first_s, QUICK_S)
        self._answers += 1
        self._most_in_flight = max(self._most_in_flight, in_flight)
        samples = self._samples.setdefault(signal, [])
        samples.append(first_s)
        if in_flight >= self.limit and self._before is None:
            self._make_room(signal, samples, pending)
        if self._answers + self._refusals >= max(WINDOW_SAMPLES, self.limit):
            self._end_window()

    def _make_room(self, signal: Signal, samples: list[float], pending: int) -> None:
        """Let one more in if this answer shows that there is room."""
        if self._starting and len(samples) == MIN_SIGNAL_SAMPLES:
            self._at_ease.setdefault(signal, median(samples))
        prompt = self._starting and samples[-1] <= TOLERANCE * self._at_ease.get(signal, 0.0)
        if (prompt or pending <= FEW_PENDING * self.limit) and not self._near_refusal():
            self.limit = min(MAX_LIMIT, self.limit + 1)

    def refused(self, *, epoch: int, in_flight: int) -> None:
        """The upstream pushed a request back, or didn't answer it in time."""
        if epoch != self.epoch:
            return
        self._refusals += 1
        self._most_in_flight = max(self._most_in_flight, in_flight)
        if self._refusals > PUSHBACK_SHARE * max(WINDOW_SAMPLES, self._answers + self._refusals):
            self._back_off()
        elif self._answers + self._refusals >= max(WINDOW_SAMPLES, self.limit):
            self._end_window()

    def _back_off(self) -> None:
        crowd = min(self.limit, self._most_in_flight)
        self._refused_at = crowd
        self._starting = False
        self._before = None
        self._set(int(crowd * BACK_OFF))

    def _end_window(self) -> None:
        medians = {signal: median(times) for signal, times in self._samples.items() if len(times) >= MIN_SIGNAL_SAMPLES}
        held_back = self._most_in_flight >= self.limit
        if self._before is not None:
            self._end_trial(self._before, medians)
        elif not held_back:
            # Nothing waits for a higher limit, and what is measured now is the upstream at ease.
            self._at_ease.update(medians)
            self._set(self.limit)
        else:
            # Were all answers prompt, the limit would have run ahead of them, and no window ended.
            self._starting = False
            for signal, value in medians.items():
                self._at_ease[signal] = min(value, self._at_ease.get(signal, value))
            self._windows_to_trial -= 1
            if self._windows_to_trial <= 0 or self._crowding(medians) > TOLERANCE:
                self._before = _Before(self.limit, medians)
                self._set(int(self.limit * TRIAL_SHARE))
            else:
                self._set(self._more())

    def _end_trial(self, before: _Before, medians: dict[Signal, float]) -> None:
        """Keep the smaller limit if it made answers quicker, and try an even smaller one next; else go back."""
        self._before = None
        shares = [medians[signal] / before.medians[signal] for signal in medians.keys() & before.medians.keys()]
        if shares and median(shares) < TRIAL_HELPS:
            self._windows_to_trial = 1
            self._set(self.limit)
        else:
            self._at_ease.update(medians)
            self._windows_to_trial = TRIAL_EVERY_WINDOWS
            self._set(before.limit)

    def _crowding(self, medians: dict[Signal, float]) -> float:
        """How many times as long as at ease the first content takes; of several signals, weighted by their samples."""
        weights = {signal: len(self._samples[signal]) for signal in medians}
        total = sum(weights.values())
        slower = sum(weights[signal] * value / self._at_ease[signal] for signal, value in medians.items())
        return slower / total if total else 1.0

    def _more(self) -> int:
        return self.limit + (1 if self._near_refusal() else max(1, int(self.limit * GROWTH)))

    def _near_refusal(self) -> bool:
        """Whether the limit is about where it was last pushed back."""
        at = self._refused_at
        return at is not None and abs(self.limit - at) <= CAREFUL_WITHIN * at

    def _set(self, limit: int) -> None:
        """Begin a new window under this limit."""
        self.limit = min(MAX_LIMIT, max(MIN_LIMIT, limit))
        self.epoch += 1
        self._samples = {}
        self._answers = self._refusals = self._most_in_flight = 0
