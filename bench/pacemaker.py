"""When requests are due, told by a process of its own: `python -m bench.pacemaker PER_S COUNT SEED`.
A seed of `even` has them at even intervals.

An event loop's own timers are a millisecond coarse, and late when the loop is busy, which is when it matters. This one sleeps
until each request is due, at random intervals, and writes the time it was due (eight bytes, of the monotonic clock) to its
output, however busy the reader is.
"""

import asyncio
import os
import random
import struct
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TICK = struct.Struct("d")
BEGIN_AFTER_S = 0.5


async def ticks(*, per_s: float, count: int, seed: int | None) -> AsyncIterator[float]:
    """The times at which `count` requests are due, `per_s` on average: each when it has come, by `time.monotonic`. At random
    intervals by `seed`, or at even ones."""
    told = "even" if seed is None else str(seed)
    arguments = (sys.executable, "-m", "bench.pacemaker", str(per_s), str(count), told)
    process = await asyncio.create_subprocess_exec(*arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        for _ in range(count):
            (due_s,) = TICK.unpack(await process.stdout.readexactly(TICK.size))
            yield due_s
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def main(per_s: float, count: int, seed: str) -> None:
    """Tell them all."""
    dice = None if seed == "even" else random.Random(int(seed))
    due_s = time.monotonic() + BEGIN_AFTER_S
    for _ in range(count):
        due_s += dice.expovariate(per_s) if dice else 1 / per_s
        if (wait_s := due_s - time.monotonic()) > 0:
            time.sleep(wait_s)
        os.write(1, TICK.pack(due_s))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
