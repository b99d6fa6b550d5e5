"""What the stages hand to one another."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from billing.types import Payer
from kernel.errors import ParleyError
from providers.base import DEFAULT_TIMEOUTS, Adapter, Target, Timeouts
from providers.errors import ProviderError
from providers.routes import ResolvedDeployment
from providers.types import ChatAnswer, ChatRequest, FinishReason, Usage

Status = Literal["complete", "stopped", "failed", "interrupted"]
"""How an answer ended: by itself; because someone asked; by an error; because the process went down."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment that may be tried: `name` is what errors call it, `deployment` what is billed."""

    name: str
    adapter: Adapter
    target: Target
    deployment: ResolvedDeployment


@dataclass(frozen=True, slots=True)
class Job:
    """One accepted completion: who asks and pays, what for, and where it may go, in order.

    `request.model` is the alias that was asked for.
    """

    request_id: UUID
    payer: Payer
    request: ChatRequest
    candidates: tuple[Candidate, ...]
    timeouts: Timeouts = DEFAULT_TIMEOUTS


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """How one attempt went. `number` counts from 1 within the job.

    `usage` is the upstream's report, or an estimate (`estimated`), or nothing for one that can't have cost
    anything. `visible` says that the caller saw some of its answer. Times are of this attempt alone:
    `ttft_ms` from its start to the first content, `latency_ms` to its end."""

    number: int
    candidate: Candidate
    status: Status
    usage: Usage
    visible: bool
    started_at: datetime
    ttft_ms: int | None
    latency_ms: int
    finish_reason: FinishReason | None = None
    error: ProviderError | None = None

    @property
    def estimated(self) -> bool:
        """Whether the usage is our estimate."""
        return not self.usage.reported and bool(self.usage.prompt + self.usage.completion)


@dataclass(frozen=True, slots=True)
class Result:
    """How a job ended: each attempt, the last of which made `answer` if any did, and the error the caller
    gets.

    `answer` is what there is of it, for every status.
    """

    job: Job
    status: Status
    attempts: tuple[AttemptOutcome, ...]
    answer: ChatAnswer
    error: ParleyError | None = None
