"""How many requests a deployment bears at a time, found out while it works.

Two signs say that it is too many. *Pushback*: the upstream refuses (429, 503, 529) or doesn't answer in time; then it is
fewer, at once. *Latency*: the mean time to the first content is more than `TOLERANCE` times what it was at ease; then fewer are
tried, and kept only if that made answers quicker: if it didn't, the upstream is merely slower than it was. With neither
sign, and only while the limit is what holds requests back, it is more: by a tenth with each window, and by one with each
answer that begins while nearly all others have begun (nobody waits upstream), or, before the first window has ended, that
comes promptly. Now and then fewer are tried without a sign, because a crowd that was there from the beginning shows none.
Why so, and what it does in a simulation: docs/adr/0007-adaptive-concurrency.md.

Times are seconds of whatever clock the caller reads."""

from dataclasses import dataclass
from math import sqrt
from statistics import fmean, median, stdev
from typing import Literal

Signal = Literal["stream", "whole", "embed"]
"""What a time to the first content was measured on: only like is compared with like."""

START_LIMIT = 64
MIN_LIMIT = 1
MAX_LIMIT = 2_000
TRIM = 0.1
"""Of a window's times the shortest and the longest tenth don't count: one request of a minute says nothing of the load. Not more
is left out: where answers all take as long, those beyond what the upstream works on wait for one whole answer, and they may be
a fifth."""
WINDOW_SAMPLES = 80
"""A decision is made on so many answers, or as many as the limit if that is more."""
MIN_SIGNAL_SAMPLES = 10
TOLERANCE = 1.05
"""So many times as long as at ease is a sign, if answers are alike; where they differ, what their noise explains is added, and
`UNLIKE` at most."""
UNLIKE = 0.05
MOST_TOLERANCE = 1.5
NOISE = 3.0
"""How many standard errors of the mean are noise."""
EASE_NOISE = 2.0
"""So many times what it was at ease may noise be: beyond that it is a crowd's."""
CLEAR = 0.06
"""With a greater standard error (a share of the mean) a window goes on, up to `MOST_PARTS` times as long."""
MOST_PARTS = 4
STILL_CROWDED = 1.05
SLOWER = 1.2
"""A trial so many times as slow as what was before it says nothing."""
GROW_FROM = 0.75
"""While somebody waits it grows only if so much of it was in use: the rest may be kept for others, and more would be kept too."""
QUICK_S = 0.1
"""What is quicker than this counts as just this: such differences are this process's, not the upstream's."""
GROWTH = 0.1
FEW_PENDING = 0.2
"""If no more than this part of what runs is still without a first content, then the upstream doesn't let it wait."""
CAREFUL_FROM, CAREFUL_TO = 0.85, 1.4
"""Between these shares of where it was last too high the limit grows by one only."""
BACK_OFF = 0.7
PUSHBACK_SHARE = 0.05
"""More of a window's answers than this must be refusals: one stray refusal says nothing of the load."""
TRIAL_SHARE = 0.7
LEAST_TRIAL_SHARE = 0.4
"""The first crowd that is seen, of whole answers, says how many there are for each that the upstream bears (Little's law): down
to this share, so many fewer are tried."""
QUITE_ALIKE = 0.05
"""With a greater standard error of the mean the first crowd is tried like any other."""
ALIKE = 0.02
"""With a smaller standard error of the mean what the upstream bears is known well enough to be held on to."""
HOLD_WINDOWS = 60
"""From that on the limit stays for so many windows, while some wait for what is kept for others: were it higher,
those would find a slot here, and wait upstream."""
TRIAL_EVERY_WINDOWS = 30
FIRST_TRIAL_WINDOWS = 1
TRIAL_HELPS = 0.82
"""A trial whose mean is below this share of the one before it says that requests were waiting upstream. (Were all of the time
waiting, seven tenths of the requests would take seven tenths of it.)"""
NO_EPOCH = -1
"""Of a request that starts while more run than may: what it meets is none of the present limit's doing."""


@dataclass(frozen=True, slots=True)
class _Before:
    """What was before a trial."""

    limit: int
    middles: dict[Signal, float]
    in_flight: float
    """On average."""
    crowding: float | None
    """None if there was no sign of any."""
    share: float
    """What part of the limit is tried."""


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
        self._in_flight = 0
        self._windows_to_trial = FIRST_TRIAL_WINDOWS
        self._before: _Before | None = None
        self._too_many_at: int | None = None
        self._waiting = False
        self._kept_waiting = 0
        self._held_windows = 0
        self._parts = 1
        self._ease_known = False
        self._ease_noise: float | None = None
        self._starting = True
        self._untried = True

    def answered(
        self, first_s: float, *, signal: Signal, epoch: int, in_flight: int, pending: int, waiting: bool = False
    ) -> None:
        """A request had its first content after `first_s`; `in_flight` counts it too, `pending` those that had none yet. Some may
        be `waiting` although fewer than the limit are in flight, because the rest is kept for others."""
        if epoch != self.epoch:
            return
        first_s = max(first_s, QUICK_S)
        self._answers += 1
        self._most_in_flight = max(self._most_in_flight, in_flight)
        self._in_flight += in_flight
        samples = self._samples.setdefault(signal, [])
        samples.append(first_s)
        self._waiting = self._waiting or waiting
        self._kept_waiting += waiting and in_flight < self.limit
        if (in_flight >= self.limit or (waiting and in_flight >= GROW_FROM * self.limit)) and self._before is None:
            self._make_room(signal, samples, pending)
        if self._answers + self._refusals >= self._parts * max(WINDOW_SAMPLES, self.limit):
            if self._unclear():
                self._parts += 1
            else:
                self._end_window()

    def _make_room(self, signal: Signal, samples: list[float], pending: int) -> None:
        """Let one more in if this answer shows that there is room."""
        if self._starting and len(samples) == MIN_SIGNAL_SAMPLES:
            self._at_ease.setdefault(signal, _middle(samples))
        prompt = self._starting and samples[-1] <= TOLERANCE * self._at_ease.get(signal, 0.0)
        if (prompt or pending <= FEW_PENDING * self.limit) and not self._near_too_many():
            self.limit = min(MAX_LIMIT, self.limit + 1)

    def refused(self, *, epoch: int, in_flight: int) -> None:
        """The upstream pushed a request back, or didn't answer it in time."""
        if epoch != self.epoch:
            return
        self._refusals += 1
        self._most_in_flight = max(self._most_in_flight, in_flight)
        if self._refusals > PUSHBACK_SHARE * max(WINDOW_SAMPLES, self._answers + self._refusals):
            self._back_off()
        elif self._answers + self._refusals >= self._parts * max(WINDOW_SAMPLES, self.limit):
            self._end_window()

    def _back_off(self) -> None:
        self._held_windows = 0
        crowd = min(self.limit, self._most_in_flight)
        self._too_many_at = crowd
        self._starting = self._untried = False
        self._before = None
        self._set(int(crowd * BACK_OFF))

    def _end_window(self) -> None:
        middles = self._middles()
        if self._before is not None:
            self._end_trial(self._before, middles)
        elif not self._waiting and self._most_in_flight < self.limit:
            # Nothing waits for a higher limit, and what is measured now is the upstream at ease.
            self._at_ease.update(middles)
            self._ease_noise = self._noise()
            self._set(self.limit)
        else:
            for signal, value in middles.items():
                self._at_ease[signal] = min(value, self._at_ease.get(signal, value))
            crowding = self._crowding(middles)
            throng = self._untried and self._is_throng(crowding, middles)
            if self._starting and not throng:
                # Were all answers prompt, the limit would have run ahead of them, and no window ended. It ran until now: the
                # crowd isn't all there yet.
                self._starting = False
                self._set(self.limit)
                return
            self._starting = False
            self._windows_to_trial -= 1
            crowded = crowding > self._tolerance()
            if crowded or self._windows_to_trial <= 0:
                share = max(LEAST_TRIAL_SHARE, 1.0 / crowding) if throng else TRIAL_SHARE
                self._untried = False
                self._before = _Before(self.limit, middles, self._crowd, crowding if crowded else None, share)
                self._set(int((self._crowd if throng else self.limit) * share))
            else:
                self._set(self._more())

    def _is_throng(self, crowding: float, middles: dict[Signal, float]) -> bool:
        """Whether it is far too many beyond doubt. Of streams only the beginning is measured, which tells how many wait upstream
        and not how many work."""
        return crowding > MOST_TOLERANCE and middles.keys() == {"whole"} and self._noise() < QUITE_ALIKE

    def _end_trial(self, before: _Before, middles: dict[Signal, float]) -> None:
        """Keep fewer if that made answers quicker, and try even fewer next unless the crowd is gone; else go back."""
        self._before = None
        shares = [middles[signal] / before.middles[signal] for signal in middles.keys() & before.middles.keys()]
        # Of what can have been a crowd, and can be gone, more than half must be.
        helps = TRIAL_HELPS if before.crowding is None else (1.0 + max(1.0 / before.crowding, before.share)) / 2
        if shares and median(shares) < helps:
            left = self._crowding(middles)
            if left * STILL_CROWDED >= 1.0 and left <= STILL_CROWDED:
                self._ease_noise = self._noise()
            self._ease_known = self._ease_known and before.crowding is not None and left * STILL_CROWDED >= 1.0
            self._windows_to_trial = TRIAL_EVERY_WINDOWS if self._ease_known and left <= STILL_CROWDED else 1
            # Were all of them at work all the time, then as many fewer fit as it became quicker (Little's law). What may be noise
            # is in favour of more.
            bears = round(before.in_flight * min(1.0, median(shares) + self._noise()))
            self._too_many_at = max(self.limit, bears)
            self._held_windows = 0
            self._set(self._too_many_at)
        elif shares and median(shares) > SLOWER:
            # Slower with fewer: the crowd was still growing when it was measured, or something else changes.
            self._windows_to_trial = 1
            self._set(before.limit)
        else:
            self._at_ease.update(middles)
            self._ease_noise = self._noise()
            self._ease_known = True
            self._windows_to_trial = TRIAL_EVERY_WINDOWS
            self._set(before.limit)

    def _crowding(self, middles: dict[Signal, float]) -> float:
        """How many times as long as at ease the first content takes; of several signals, weighted by their samples."""
        weights = {signal: len(self._samples[signal]) for signal in middles}
        total = sum(weights.values())
        slower = sum(weights[signal] * value / self._at_ease.get(signal, value) for signal, value in middles.items())
        return slower / total if total else 1.0

    def _tolerance(self) -> float:
        """How crowded it may look: what the spread of this window's times explains isn't a crowd."""
        noise = self._explained()
        return min(MOST_TOLERANCE, TOLERANCE + min(UNLIKE, NOISE * noise) + NOISE * noise)

    def _unclear(self) -> bool:
        """Whether more answers have to tell if this is a crowd, or what a trial did."""
        if self._parts >= MOST_PARTS or self._explained() <= CLEAR:
            return False
        return self._before is not None or self._crowding(self._middles()) > TOLERANCE + UNLIKE

    def _explained(self) -> float:
        """The noise, as far as it was there at ease: answers that were alike and aren't any more are so because some wait."""
        noise = self._noise()
        return noise if self._ease_noise is None else min(noise, EASE_NOISE * self._ease_noise)

    @property
    def _crowd(self) -> float:
        """How many were in flight in this window, on average."""
        return min(self.limit, self._in_flight / max(1, self._answers))

    def _middles(self) -> dict[Signal, float]:
        return {signal: _middle(times) for signal, times in self._samples.items() if len(times) >= MIN_SIGNAL_SAMPLES}

    def _noise(self) -> float:
        noise = (_noise(times) for times in self._samples.values() if len(times) >= MIN_SIGNAL_SAMPLES)
        return max(noise, default=0.0)

    def _more(self) -> int:
        if self._most_in_flight < GROW_FROM * self.limit:
            return self.limit
        if self._held_windows < HOLD_WINDOWS and self._holds():
            self._held_windows += 1
            return self.limit
        return self.limit + (1 if self._near_too_many() else max(1, int(self.limit * GROWTH)))

    def _holds(self) -> bool:
        """Whether it is where it should be for the sake of those for whom slots are kept free."""
        at = self._too_many_at
        shared = self._kept_waiting > self._answers / 2
        return shared and at is not None and self.limit >= at and self._noise() < ALIKE

    def _near_too_many(self) -> bool:
        """Whether the limit is about where it was last too high."""
        at = self._too_many_at
        return at is not None and CAREFUL_FROM * at <= self.limit <= CAREFUL_TO * at

    def _set(self, limit: int) -> None:
        """Begin a new window under this limit."""
        self.limit = min(MAX_LIMIT, max(MIN_LIMIT, limit))
        self.epoch += 1
        self._samples = {}
        self._answers = self._refusals = self._most_in_flight = self._in_flight = 0
        self._waiting = False
        self._kept_waiting = 0
        self._parts = 1


def _middle(times: list[float]) -> float:
    """Their mean, without the shortest and the longest tenth."""
    cut = int(len(times) * TRIM)
    return fmean(sorted(times)[cut : len(times) - cut])


def _noise(times: list[float]) -> float:
    """The standard error of `_middle`, as a share of it: the standard deviation where each of those left out counts as the
    outermost that is in, over the part that is in and the root of their number (Tukey and McLaughlin, 1963)."""
    cut = int(len(times) * TRIM)
    inner = sorted(times)[cut : len(times) - cut]
    middle = fmean(inner)
    wide = [inner[0]] * cut + inner + [inner[-1]] * cut
    return stdev(wide) / (1.0 - 2.0 * TRIM) / middle / sqrt(len(times))
