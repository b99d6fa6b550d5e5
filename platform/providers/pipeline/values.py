"""What the stages hand to one another."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from billing.holds import Hold
from billing.types import Payer
from kernel.errors import ParleyError
from providers.base import DEFAULT_TIMEOUTS, Adapter, Target, Timeouts
from providers.errors import ProviderError
from providers.limits.headers import LimitState
from providers.routes import ResolvedDeployment
from providers.types import ChatAnswer, FinishReason, Request, Usage
from tenants.principals import Principal, Priority

Status = Literal["complete", "stopped", "failed", "interrupted"]
"""How an answer ended: by itself; because someone asked; by an error; because the process went down."""


CacheStatus = Literal["exact", "semantic", "dedupe", "miss", "bypass"]


class Wishes(msgspec.Struct, frozen=True):
    """How the caller wants it done, beside what it asks for. From headers, never from the body.

    `drop_params`: leave out what the model's provider can't say, rather than refuse. `use_cache` None leaves it to the
    rules (temperature 0), True opts in, False (`cache-control: no-cache`) asks the provider anew; with
    `store_in_cache` False (`no-store`) nothing is kept. `priority` None is what the key has by default. `deadline_s`
    is the longest it may wait for its turn."""

    drop_params: bool = False
    use_cache: bool | None = None
    store_in_cache: bool = True
    priority: Priority | None = None
    deadline_s: float | None = None


NO_WISHES = Wishes()


class Report(msgspec.Struct):
    """What the stages have to say of a job beside its answer; the gateway makes headers of it.

    `cache_entry` is the entry of the semantic cache that was served. `dropped` are the names of what was left out of the
    request; `headers` (names in lower case) are ready to be sent; `rate_limits` is how the tightest limit of each kind
    stands."""

    cache: CacheStatus = "bypass"
    dropped: list[str] = msgspec.field(default_factory=list)
    queued_ms: float = 0.0
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    rate_limits: tuple[LimitState, ...] = ()
    cache_entry: UUID | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment that may be tried: `name` is what errors call it, `deployment` what is billed."""

    name: str
    adapter: Adapter
    target: Target
    deployment: ResolvedDeployment


class Job(msgspec.Struct, frozen=True):
    """One accepted completion: who asks and pays, what for, and where it may go, in order.

    `request.model` is the alias that was asked for; `route` the one that it stood for, where the name only stood for the
    tenant's choice (`default`). `surface` names the API it came by (`openai.chat`, `room`, …). `cap_tokens` is how long an
    answer its route gives where the caller doesn't say, None for what is usual. `hold` is what was reserved for
    it, from the stage of that name on.
    """

    request_id: UUID
    payer: Payer
    request: Request
    candidates: tuple[Candidate, ...]
    timeouts: Timeouts = DEFAULT_TIMEOUTS
    principal: Principal | None = None
    wishes: Wishes = NO_WISHES
    surface: str = "openai.chat"
    report: Report = msgspec.field(default_factory=Report)
    route: str = ""
    cap_tokens: int | None = None
    hold: Hold | None = None

    @property
    def alias(self) -> str:
        """The model that is meant: what limits and the cache go by."""
        return self.route or self.request.model


class AttemptOutcome(msgspec.Struct, frozen=True):
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


class Result(msgspec.Struct, frozen=True):
    """How a job ended: each attempt, the last of which made `answer` if any did, and the error the caller
    gets.

    `answer` is what there is of it, for every status.
    """

    job: Job
    status: Status
    attempts: tuple[AttemptOutcome, ...]
    answer: ChatAnswer
    error: ParleyError | None = None
