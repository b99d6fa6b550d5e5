"""How often, and how soon, a deployment that failed in passing is tried again for the same request.

Exponential backoff with full jitter: a uniformly random share of a wait that doubles, so that those whom one failure
has hit don't come back together (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015)."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Retries:
    """`tries` of one deployment in all; waits of up to `first_wait_s`, doubled with each, never above
    `longest_wait_s`. `chance` and `sleep` are what a test makes certain and quick."""

    tries: int = 5
    first_wait_s: float = 0.1
    longest_wait_s: float = 2.0
    chance: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep

    def wait_s(self, tried: int) -> float:
        """Seconds to wait after so many tries (from 1) failed."""
        return self.chance() * min(self.first_wait_s * 2.0 ** (tried - 1), self.longest_wait_s)


RETRIES = Retries()
