"""The stages of the exact cache: where a request's answer would be, whether it is there, and to keep it."""

import time
from uuid import UUID

import msgspec

from kernel.ids import NIL
from providers.cache import shared, stored
from providers.cache.acknowledge import acknowledge
from providers.cache.entries import MAX_ENTRY_BYTES, Entry, Kept, encode, unpack
from providers.cache.key import key_of
from providers.cache.memory import memory
from providers.cache.namespaces import Namespace, namespace_of
from providers.cache.served import Served
from providers.cache.stats import stats
from providers.cache.writes import Write, writes
from providers.pipeline.record import sold_nano
from providers.pipeline.values import Job, Result
from providers.types import AnswerChoice, ChatAnswer, ChatRequest, Request
from tenants.principals import Principal

_WHOLE_REASONS = frozenset({"stop", "tool_calls"})


class Place(msgspec.Struct, frozen=True):
    """Where a job's answer is kept, if it is. `whole`: the key holds all that was asked. `reads` and `stores` are what
    the caller allows; `masks` say what is taken out of answers."""

    tenant_id: UUID
    key: bytes
    whole: bool
    reads: bool
    stores: bool
    namespace: Namespace
    masks: tuple[bool, ...] = ()


async def place_of(job: Job, *, masks: tuple[bool, ...] = ()) -> Place | None:
    """Where to look for a job's answer and to keep it; None for one that has nothing to do with the cache. `masks` say
    what its tenant's rules take out of answers."""
    principal, wishes = job.principal, job.wishes
    if principal is None:
        return None
    reads = wishes.use_cache is not False
    if reads or wishes.store_in_cache:
        namespace = await namespace_of(principal.tenant_id)
        if _is_eligible(job, namespace):
            generations = namespace.generations(job.alias)
            found = key_of(job, scope=scope_of(principal, namespace), generations=generations, masks=masks)
            if found is not None:
                return Place(principal.tenant_id, *found, reads, wishes.store_in_cache, namespace, masks)
    return None


def _is_eligible(job: Job, namespace: Namespace) -> bool:
    request = job.request
    if not namespace.enabled:
        return False
    if not isinstance(request, ChatRequest) or job.wishes.use_cache or namespace.opt_in_all:
        return True
    return request.temperature is not None and request.temperature <= namespace.max_temperature


def scope_of(principal: Principal, namespace: Namespace) -> tuple[object, ...]:
    """Among whom an answer is shared: a group's members are those who are in exactly the same groups."""
    if namespace.sharing == "tenant":
        return ("tenant",)
    if namespace.sharing == "group" and principal.groups:
        return ("group", *sorted(map(str, principal.groups)))
    return ("principal", principal.id)


def redis_key_of(place: Place | None) -> bytes | None:
    """The key to be read along with the caller's limits; None where that is of no use."""
    if place is None or not place.reads or shared.is_apart() or memory().has(place.key):
        return None
    return shared.redis_key(place.tenant_id, place.key).encode()


async def look_up(job: Job, place: Place, cached: bytes | None = None) -> Served | None:
    """The answer, if one is kept that the caller may have. `cached` is what Redis had under `redis_key_of`."""
    if not place.reads:
        return None
    level = "hits_memory"
    entry = _valid(memory().get(place.key), place)
    if entry is None:
        level, entry = await _look_below(place, cached)
    if entry is None:
        job.report.cache = "miss"
        return None
    kept = entry.kept
    stats().hit(place.tenant_id, level, kept.answer.usage, saved_nano=kept.cost_nano)
    report = job.report
    report.cache = "exact"
    report.headers["x-parley-cache-age"] = str(max(0, int(time.time() - kept.created)))
    report.headers["x-parley-provider"] = kept.provider
    report.headers["x-parley-model"] = kept.model
    report.dropped[:] = kept.dropped
    choices = kept.answer.choices
    reason = choices[0].finish_reason if choices else None
    acknowledge(job, cache="exact", provider=kept.provider, model=kept.model, finish_reason=reason)
    return Served(job, entry, whole=place.whole)


def remember(place: Place, result: Result) -> None:
    """Keep the answer of a settled job, if it is whole and not too long."""
    answer = result.answer
    if not (place.stores and result.status == "complete" and is_whole(result.job.request, answer)):
        return
    made_by = result.attempts[-1].candidate.target
    now = time.time()
    kept = Kept(
        answer=answer,
        created=now,
        expires=now + place.namespace.ttl_s,
        provider=made_by.provider,
        model=made_by.model,
        dropped=tuple(result.job.report.dropped),
        cost_nano=sold_nano(result),
    )
    encoded = encode(kept)
    if len(encoded) > MAX_ENTRY_BYTES:
        return
    _keep(Entry(place.key, place.tenant_id, kept, len(encoded)))
    asker, request_id = result.job.payer.subject_id, result.job.request_id
    if _write(place, kept, encoded, alias=result.job.alias, subject_id=asker, request_id=request_id):
        stats().count(place.tenant_id, "stores")


async def _look_below(place: Place, cached: bytes | None) -> tuple[str, Entry | None]:
    """What Redis or PostgreSQL has, brought up to the levels above."""
    level = "hits_redis"
    if cached is not None:
        found = unpack(cached)
    else:
        found = await shared.get(place.tenant_id, place.key) if shared.is_apart() else None
    if found is None:
        level = "hits_postgres"
        found = await stored.get(place.tenant_id, place.key)
    if found is None:
        return level, None
    kept, size = found
    entry = _valid(Entry(place.key, place.tenant_id, kept, size), place)
    if entry is not None:
        if level == "hits_postgres":
            _write(place, kept, encode(kept))
        _keep(entry)
    return level, entry


def _keep(entry: Entry) -> None:
    if gone := memory().put(entry):
        stats().count(entry.tenant_id, "evictions", gone)


def _write(
    place: Place,
    kept: Kept,
    encoded: bytes,
    *,
    alias: str | None = None,
    subject_id: UUID | None = None,
    request_id: UUID = NIL,
) -> bool:
    """Have it written to Redis and, with the model's `alias`, to PostgreSQL."""
    return writes().add(
        Write(
            tenant_id=place.tenant_id,
            key=place.key,
            alias=alias or "",
            encoded=encoded,
            tokens=kept.answer.usage.prompt + kept.answer.usage.completion,
            created=kept.created,
            expires=kept.expires,
            max_bytes=place.namespace.max_bytes,
            stored=alias is not None,
            subject_id=subject_id,
            request_id=request_id,
        )
    )


def is_whole(request: Request, answer: ChatAnswer) -> bool:
    """Whether an answer is complete: neither empty nor cut short, neither filtered nor refused."""
    if not isinstance(request, ChatRequest):
        return len(answer.vectors) == len(request.inputs)
    return len(answer.choices) == request.n and all(
        choice.finish_reason in _WHOLE_REASONS and (choice.text or choice.tool_calls) and not _is_refusal(choice)
        for choice in answer.choices
    )


def _is_refusal(choice: AnswerChoice) -> bool:
    said = choice.extras.fields.get("refusal") if choice.extras else None
    return said is not None and bytes(said).strip() not in (b"null", b'""')


def _valid(entry: Entry | None, place: Place) -> Entry | None:
    """The entry, unless it is too old or was deleted."""
    if entry is None or entry.tenant_id != place.tenant_id:
        return None
    namespace, kept = place.namespace, entry.kept
    now = time.time()
    if now >= kept.expires or now >= kept.created + namespace.ttl_s:
        memory().drop(entry.key)
        return None
    if namespace.evicted and kept.created <= namespace.evicted.get(entry.key.hex(), 0.0):
        return None
    return entry
