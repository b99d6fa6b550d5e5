"""The port through which a finished job is recorded."""

from typing import Protocol

from providers.pipeline.values import Result


class Settle(Protocol):
    """Record a result durably: one usage record per attempt, and what the caller keeps of it, in one
    transaction.

    Called once per job, whatever its end, in the context that started the job. The caller sees the end of the
    answer only after it returns; if it raises, or takes longer than `pump.SETTLE_S`, the caller gets an error
    instead."""

    async def __call__(self, result: Result) -> None: ...
