"""The circuit breaker of one deployment: a state machine, without a clock, a network or an event loop of its own.

    CLOSED      everything passes. `failures` of the last `among` attempts, none older than `window_s` → OPEN
    OPEN        nothing passes, for `open_s`; each time that it opens again twice as long, up to `longest_open_s`
    HALF_OPEN   `probes` attempts at a time pass. As many successes → RAMPING; a failure → OPEN
    RAMPING     a share passes that grows from `ramp_from` to 1 in `ramp_s` → CLOSED; `failures_ramping` → OPEN

The window counts attempts as well as seconds: so the fifth failure in a row opens it however much went well just
before, and one failure in a hundred never does however many there are a second.

An attempt that is let through gets a pass, and gives it back once with how it went. A pass of an earlier state tells
nothing about the present one, and is not counted."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

BreakerState = Literal["closed", "open", "half_open", "ramping"]
Clock = Callable[[], float]
"""Seconds, from any beginning, that never go back."""
Chance = Callable[[], float]
"""A number from 0 to below 1."""


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When it opens and how it closes. Times are in seconds."""

    failures: int = 5
    among: int = 10
    window_s: float = 30.0
    open_s: float = 5.0
    longest_open_s: float = 120.0
    probes: int = 3
    ramp_s: float = 10.0
    ramp_from: float = 0.1
    failures_ramping: int = 2


RULES = BreakerRules()


class Pass(msgspec.Struct, frozen=True):
    """The leave to make one attempt, given in the breaker's state number `era`."""

    era: int


class Breaker:
    """One deployment's. Not for several threads."""

    def __init__(self, *, now: Clock, rules: BreakerRules = RULES, chance: Chance = random.random) -> None:
        self._now = now
        self._rules = rules
        self._chance = chance
        self._state: BreakerState = "closed"
        self._pass = Pass(0)
        self._since_s = now()
        self._until_s = 0.0
        self._period_s = 0.0
        self._times_opened = 0
        self._probing = 0
        self._probed = 0
        self._failures = 0
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=rules.among)

    @property
    def state(self) -> BreakerState:
        """The state at this moment; time alone moves OPEN on to HALF_OPEN, and RAMPING to CLOSED."""
        if self._state == "open" and self._now() >= self._until_s:
            self._enter("half_open")
        elif self._state == "ramping" and self._now() >= self._since_s + self._rules.ramp_s:
            self._times_opened = 0
            self._enter("closed")
        return self._state

    @property
    def times_opened(self) -> int:
        """How often it has opened since it was last closed."""
        return self._times_opened

    @property
    def open_left_s(self) -> float:
        """For how long it lets nothing through, if nothing better is heard meanwhile."""
        return max(0.0, self._until_s - self._now()) if self.state == "open" else 0.0

    @property
    def ramped_s(self) -> float:
        """For how long it has been ramping; 0 in any other state."""
        return self._now() - self._since_s if self.state == "ramping" else 0.0

    @property
    def share(self) -> float:
        """The share of attempts that it lets through, from 0 to 1; that of probes is given as 0."""
        state = self.state
        if state == "closed":
            return 1.0
        if state != "ramping":
            return 0.0
        rules = self._rules
        return rules.ramp_from + (1 - rules.ramp_from) * (self._now() - self._since_s) / rules.ramp_s

    def admit(self, *, force: bool = False) -> Pass | None:
        """Leave to make an attempt, if there is any. `force` takes RAMPING for CLOSED: for one who has nowhere else
        to go."""
        if self._state == "closed":
            return self._pass
        state = self.state
        if state == "open":
            return None
        if state == "half_open":
            if self._probing >= self._rules.probes:
                return None
            self._probing += 1
        elif state == "ramping" and not force and self._chance() >= self.share:
            return None
        return self._pass

    def holds(self, leave: Pass) -> bool:
        """Whether a pass that was kept waiting may still be used."""
        return leave.era == self._pass.era or self.state in ("closed", "ramping")

    def succeeded(self, leave: Pass) -> None:
        """The upstream answered."""
        if leave.era != self._pass.era:
            return
        if self._state == "half_open":
            self._probing -= 1
            self._probed += 1
            if self._probed >= self._rules.probes:
                self._enter("ramping")
        elif self._failures:
            self._note(failed=False)

    def failed(self, leave: Pass) -> bool:
        """The upstream failed in a way that may pass. Returns whether that has opened the breaker."""
        if leave.era != self._pass.era or self.state == "open":
            return False
        if self._state == "half_open":
            self._open()
            return True
        self._note(failed=True)
        recent_s = self._now() - self._rules.window_s
        failures = sum(failed and at_s > recent_s for at_s, failed in self._outcomes)
        if failures < (self._rules.failures_ramping if self._state == "ramping" else self._rules.failures):
            return False
        self._open()
        return True

    def left(self, leave: Pass) -> None:
        """The attempt ended without telling anything about the upstream."""
        if leave.era == self._pass.era and self._state == "half_open":
            self._probing -= 1

    def answered(self) -> None:
        """The upstream answers a question about its health: HALF_OPEN comes sooner, though never before a quarter
        of the time is over, so that one which is well but for its answers isn't asked for them all the time."""
        if self._state == "open":
            self._until_s = min(self._until_s, self._since_s + self._period_s / 4)

    def learn_open(self, *, left_s: float, times_opened: int) -> None:
        """Another process has found it broken, and leaves it alone for `left_s`."""
        self._times_opened = max(self._times_opened, times_opened)
        self._enter_open(left_s)

    def learn_ramping(self, *, ramped_s: float) -> None:
        """Another process has found it well again, and ramps since `ramped_s`."""
        if self.state in ("open", "half_open"):
            self._enter("ramping")
            self._since_s -= max(0.0, ramped_s)

    def _open(self) -> None:
        self._times_opened += 1
        self._enter_open(self._rules.open_s * 2.0 ** min(self._times_opened - 1, 30))

    def _enter_open(self, period_s: float) -> None:
        self._enter("open")
        self._period_s = min(period_s, self._rules.longest_open_s)
        self._until_s = self._since_s + self._period_s

    def _note(self, *, failed: bool) -> None:
        if len(self._outcomes) == self._rules.among and self._outcomes[0][1]:
            self._failures -= 1
        self._outcomes.append((self._now(), failed))
        self._failures += failed

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._since_s = self._now()
        self._pass = Pass(self._pass.era + 1)
        self._probing = self._probed = self._failures = 0
        self._outcomes.clear()
