"""The stage `limit`: one round trip to Redis, in which a request's buckets are taken, its caller's epochs read, and the exact
cache's entry if there may be one. A caller who is under no limit costs no more than the reading.

While Redis is away, buckets of this process stand in, each with its share of every limit.
"""

import uuid
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from billing.scopes import BudgetScopes
from kernel import metrics
from kernel.lag import lag
from kernel.per_loop import PerLoop
from kernel.redis import RedisError, line, tenant_key
from providers.estimate import estimate_input
from providers.limits import script
from providers.limits.buckets import Bucket, LocalBuckets, Taken
from providers.limits.headers import LimitExceeded, LimitState, answer_headers, tightest
from providers.limits.overload import Overload
from providers.limits.processes import Processes
from providers.limits.rules import TenantRules, note_version, rules_of
from providers.pipeline.values import Job, Result
from providers.types import EmbeddingRequest, Request
from tenants.credentials import confirm
from tenants.epochs import LIMITS_FIELD, Epochs, whole_epochs
from tenants.principals import Principal

NO_MODEL = ""
"""The alias of no model: only limits of the tenant and of the key cover it."""
ASSUMED_OUTPUT_TOKENS = 1_024
"""Of a request that doesn't say how long its answer may be."""
MOST_OUTPUT_TOKENS = 4_096
"""What is taken for an answer beforehand, at most; the rest when it is known."""

Correct = Callable[[int], Awaitable[None]]


async def _nothing_to_correct(tokens_used: int) -> None:
    return None


class Admission(msgspec.Struct, frozen=True):
    """A request that was let through. `headers` are for its answer; `cached` is what the exact cache had; `correct` tells how
    many tokens it took in the end; `principal` is its caller as of now; `budgeted` says what its tenant has budgets for.
    """

    principal: Principal | None
    budgeted: BudgetScopes
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    states: tuple[LimitState, ...] = ()
    cached: bytes | None = None
    correct: Correct = _nothing_to_correct

    @property
    def remember(self) -> Sequence[Callable[[Result], Awaitable[None]]]:
        """What is to be done with the result: nothing, where no tokens were taken."""
        if self.correct is _nothing_to_correct:
            return ()

        async def correct(result: Result) -> None:
            await self.correct(sum(one.usage.prompt + one.usage.completion for one in result.attempts))

        return (correct,)


class Limiter:
    """One event loop's."""

    def __init__(self) -> None:
        self.local = LocalBuckets()
        self.processes = Processes()
        self.overload = Overload()
        self.is_local = False
        self.lag_s: Callable[[], float] = lambda: lag().ewma_s

    async def admit(self, job: Job, *, cache_key: bytes | None, takes_tokens: bool) -> Admission:
        """See `admit`."""
        principal = job.principal
        tenant_id = job.payer.tenant_id
        rules = await rules_of(tenant_id)
        buckets = rules.buckets(keys=_keys(job.payer.api_key_id, principal), alias=job.alias)
        if not takes_tokens:
            buckets = tuple(bucket for bucket in buckets if bucket.kind == "requests")
        unconfirmed = principal.unconfirmed if principal is not None else None
        if not buckets and unconfirmed is None and cache_key is None:
            return Admission(principal, rules.budgeted)
        fields = (*unconfirmed.subject.fields, LIMITS_FIELD) if unconfirmed is not None else (LIMITS_FIELD,)
        scale = 1.0 / self.overload.observe(self.lag_s())
        amounts = [1 if bucket.kind == "requests" else _estimate(job.request) for bucket in buckets]
        asked = _Asked(rules, buckets, amounts, scale, fields, cache_key)
        taken, epochs, cached, is_local, holds_on = await self._take(asked)
        if not holds_on:
            # A budget that was made before this request came binds it.
            rules = await rules_of(tenant_id)
        if principal is not None and unconfirmed is not None:
            principal = await confirm(principal, epochs)
        if is_local:
            scale *= self.processes.count
        states = tightest(_state(bucket, used, scale) for bucket, used in zip(buckets, taken.used_us, strict=True))
        if not taken.granted:
            raise _refused(buckets, amounts, taken, scale, states)
        tokens = any(bucket.kind == "tokens" for bucket in buckets)
        correct = _Correction(self, buckets, amounts, scale, is_local) if tokens else _nothing_to_correct
        headers = answer_headers(states, surface=job.surface)
        job.report.headers.update(headers)
        job.report.rate_limits = states
        return Admission(principal, rules.budgeted, headers, states, cached, correct)

    async def admit_refused(self, principal: Principal) -> None:
        """See `admit_refused`."""
        rules = await rules_of(principal.tenant_id)
        buckets = tuple(
            bucket
            for bucket in rules.buckets(keys=_keys(principal.api_key_id, principal), alias=NO_MODEL)
            if bucket.kind == "requests"
        )
        if not buckets:
            return
        scale = 1.0 / self.overload.observe(self.lag_s())
        amounts = [1] * len(buckets)
        taken, _, _, is_local, _ = await self._take(_Asked(rules, buckets, amounts, scale, (LIMITS_FIELD,), None))
        if is_local:
            scale *= self.processes.count
        if not taken.granted:
            states = tightest(_state(bucket, used, scale) for bucket, used in zip(buckets, taken.used_us, strict=True))
            raise _refused(buckets, amounts, taken, scale, states)

    async def _take(self, asked: "_Asked") -> tuple[Taken, Epochs | None, bytes | None, bool, bool]:
        """What was taken, the epochs in force (None: not known), the cache's entry, whether this process alone decided, and
        whether the tenant's rules are still those, as far as is known."""
        try:
            taken, found, cached = await self._ask_redis(asked)
        except RedisError:
            self.is_local = True
            costs = asked.costs(asked.scale * self.processes.count)
            return self.local.take(asked.buckets, costs), None, None, True, True
        self.is_local = False
        self.processes.beat()
        return taken, whole_epochs(found[:-1]), cached, False, note_version(asked.rules, found[-1])

    async def _ask_redis(self, asked: "_Asked") -> tuple[Taken, list[bytes | None], bytes | None]:
        redis = line()
        epochs_key = tenant_key(asked.rules.tenant_id, "epochs")
        if asked.buckets:
            count, given = script.take_arguments(
                epochs_key=epochs_key,
                fields=asked.fields,
                buckets=asked.buckets,
                costs=asked.costs(asked.scale),
                cache_key=asked.cache_key,
            )
            granted, used, found, cached = await redis.script(script.TAKE, *given, keys=count)
            return Taken(bool(granted), tuple(used)), found, cached
        if asked.cache_key is None:
            return Taken(True, ()), await redis.call("HMGET", epochs_key, *asked.fields), None
        found, cached = await redis.calls(("HMGET", epochs_key, *asked.fields), ("GET", asked.cache_key))
        return Taken(True, ()), found, cached


class _Asked(msgspec.Struct, frozen=True):
    """What one request asks of the buckets."""

    rules: TenantRules
    buckets: tuple[Bucket, ...]
    amounts: list[int]
    scale: float
    fields: tuple[str, ...]
    cache_key: bytes | None

    def costs(self, scale: float) -> tuple[int, ...]:
        return tuple(
            bucket.cost_us(amount, scale=scale) for bucket, amount in zip(self.buckets, self.amounts, strict=True)
        )


class _Correction:
    """Gives back what was taken too much, or takes what was taken too little; once."""

    def __init__(
        self, limiter: Limiter, buckets: tuple[Bucket, ...], amounts: list[int], scale: float, is_local: bool
    ) -> None:
        self._limiter = limiter
        self._taken = list(zip(buckets, amounts, strict=True))
        self._scale = scale
        self._is_local = is_local

    async def __call__(self, tokens_used: int) -> None:
        taken, self._taken = self._taken, []
        wrong = [
            (bucket, bucket.correction_us(tokens_used, scale=self._scale) - bucket.cost_us(amount, scale=self._scale))
            for bucket, amount in taken
            if bucket.kind == "tokens"
        ]
        wrong = [(bucket, by_us) for bucket, by_us in wrong if by_us]
        if self._is_local:
            for bucket, by_us in wrong:
                self._limiter.local.correct(bucket, by_us)
        elif wrong:
            count, given = script.correct_arguments(wrong)
            line().tell("EVALSHA", script.CORRECT.digest, count, *given)


limiter = PerLoop(Limiter)


async def admit(job: Job, *, cache_key: bytes | None = None, takes_tokens: bool = True) -> Admission:
    """Let an accepted job through, or raise `LimitExceeded` (429); all its buckets are taken, or none.

    `cache_key` names the exact cache's entry in Redis, under the tenant's hash tag, to be read on the way. A job that asks
    no model (`takes_tokens` False) is limited in requests alone. Raises `NotAuthenticated` and
    `PermissionDenied` for a caller whose credential holds no more.
    """
    return await limiter().admit(job, cache_key=cache_key, takes_tokens=takes_tokens)


async def admit_refused(principal: Principal) -> None:
    """Take a request from the buckets of one who asked for what is not to be had, so that probing for models is limited like
    asking them. Raises `LimitExceeded` (429) instead of what they would have heard."""
    await limiter().admit_refused(principal)


def _keys(api_key_id: uuid.UUID | None, principal: Principal | None) -> frozenset[uuid.UUID]:
    """The key of a request, and those by which it is bound."""
    if api_key_id is None:
        return frozenset()
    return frozenset((api_key_id, *(principal.bound_by if principal is not None else ())))


def _estimate(request: Request) -> int:
    """The tokens that are taken beforehand."""
    if isinstance(request, EmbeddingRequest):
        return estimate_input(request)
    said = request.max_output_tokens
    return estimate_input(request) + request.answers * min(
        ASSUMED_OUTPUT_TOKENS if said is None else said, MOST_OUTPUT_TOKENS
    )


def _state(bucket: Bucket, used_us: int, scale: float) -> LimitState:
    return LimitState(
        kind=bucket.kind,
        subject=bucket.subject,
        limit=bucket.per_minute,
        remaining=bucket.left(used_us, scale=scale),
        reset_s=used_us / 1_000_000,
    )


def _refused(
    buckets: tuple[Bucket, ...], amounts: list[int], taken: Taken, scale: float, states: tuple[LimitState, ...]
) -> LimitExceeded:
    """Counts it, and names the bucket that it takes longest to wait for."""
    waits = [
        used + bucket.cost_us(amount, scale=scale) - bucket.depth_us
        for bucket, amount, used in zip(buckets, amounts, taken.used_us, strict=True)
    ]
    worst = max(range(len(waits)), key=waits.__getitem__)
    bucket = buckets[worst]
    metrics.limited.labels(bucket.subject, bucket.kind).inc()
    whose = {"tenant": "this organisation", "api_key": "this API key", "model": "this model"}[bucket.subject]
    return LimitExceeded(
        f"The limit of {bucket.per_minute} {bucket.kind} a minute of {whose} is reached.",
        retry_after_s=max(waits[worst], 1) / 1_000_000,
        states=states,
        bucket=bucket,
    )
