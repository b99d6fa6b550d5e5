"""Which limits a tenant has set, and which buckets follow for a request; and which budgets bind it.

A tenant's limits are kept per process for `RATE_LIMITS_TTL_S`, and dropped as soon as a request sees that the tenant's field
`LIMITS_FIELD` among the epochs has changed.
"""

import uuid
from dataclasses import dataclass, field
from functools import partial

from django.conf import settings
from psycopg import Error

from billing.scopes import BudgetScopes, budget_scopes
from kernel import adb
from kernel.errors import Unavailable
from kernel.kept import Kept
from kernel.redis import RedisError, line, tenant_key
from providers.limits.buckets import Bucket, Kind, depth_us
from tenants.epochs import LIMITS_FIELD

UNKNOWN = b"?"
_MAX_TENANTS = 10_000
_MAX_PLANS = 1_000
_SQL = """
    SELECT subject, api_key_id, model, requests_per_minute, tokens_per_minute, requests_burst_percent, tokens_burst_percent
    FROM providers_ratelimit ORDER BY id LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """One limit, as it is stored."""

    subject: str
    api_key_id: uuid.UUID | None
    model: str
    requests_per_minute: int | None
    tokens_per_minute: int | None
    requests_burst_percent: int = 100
    tokens_burst_percent: int = 100

    def covers(self, *, keys: frozenset[uuid.UUID], alias: str) -> bool:
        """Whether a request for this model falls under it, of a key that is, or is bound by, one of `keys`."""
        if self.subject == "api_key":
            return self.api_key_id in keys
        if self.subject == "model":
            return alias.startswith(self.model[:-1]) if self.model.endswith("*") else alias == self.model
        return True


@dataclass(slots=True)
class TenantRules:
    """A tenant's limits. `version` is what the limits' field was before they were read, `UNKNOWN` if
    Redis could not be asked."""

    tenant_id: uuid.UUID
    rules: tuple[Rule, ...]
    budgeted: BudgetScopes
    version: bytes | None
    _plans: dict[tuple[frozenset[uuid.UUID], str], tuple[Bucket, ...]] = field(default_factory=dict)

    def buckets(self, *, keys: frozenset[uuid.UUID], alias: str) -> tuple[Bucket, ...]:
        """The buckets of a request, given its key and those by which that is bound; none where no limit covers it."""
        key = (keys, alias)
        known = self._plans.get(key)
        if known is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            known = self._plans[key] = _buckets(self, keys, alias)
        return known


_kept: Kept[uuid.UUID, TenantRules] = Kept(ttl_s=lambda: settings.RATE_LIMITS_TTL_S, max_keys=_MAX_TENANTS)


async def rules_of(tenant_id: uuid.UUID) -> TenantRules:
    """The limits of a tenant. What was read before holds on while PostgreSQL can't be asked; raises `Unavailable` when nothing
    was.
    """
    read = partial(_read, tenant_id)
    return _kept.look(tenant_id, read) or await _kept.get(tenant_id, read)


def note_version(rules: TenantRules, version: bytes | None) -> bool:
    """A request saw the limits' field at this value: under another, what is kept is forgotten. Whether they still hold."""
    if version == rules.version:
        return True
    last = _kept.last(rules.tenant_id)
    if last is not None and last.version != version:
        _kept.forget(rules.tenant_id)
    return False


async def _read(tenant_id: uuid.UUID) -> TenantRules:
    before = _kept.last(tenant_id)
    version = await _version(tenant_id)
    try:
        async with adb.transaction(tenant_id) as connection:
            cursor = await connection.execute(_SQL, (settings.RATE_LIMITS_PER_TENANT_MAX,))
            rules = tuple(Rule(**row) for row in await cursor.fetchall())
            budgeted = await budget_scopes(connection)
    except (Error, Unavailable) as error:
        if before is None:
            raise Unavailable("The database can't be asked for limits.") from error
        rules, budgeted = before.rules, before.budgeted
    return TenantRules(tenant_id=tenant_id, rules=rules, budgeted=budgeted, version=version)


async def _version(tenant_id: uuid.UUID) -> bytes | None:
    try:
        found: bytes | None = await line().call("HGET", tenant_key(tenant_id, "epochs"), LIMITS_FIELD)
    except RedisError:
        return UNKNOWN
    return found


def _buckets(kept: TenantRules, keys: frozenset[uuid.UUID], alias: str) -> tuple[Bucket, ...]:
    rules = [rule for rule in kept.rules if rule.covers(keys=keys, alias=alias)]
    rules = _under_the_operators(rules)
    found = []
    for rule in rules:
        name = {"tenant": "t", "api_key": f"k:{rule.api_key_id}", "model": f"m:{rule.model}"}[rule.subject]
        kinds: tuple[tuple[Kind, int | None, int], ...] = (
            ("requests", rule.requests_per_minute, rule.requests_burst_percent),
            ("tokens", rule.tokens_per_minute, rule.tokens_burst_percent),
        )
        for kind, per_minute, percent in kinds:
            if per_minute is not None:
                key = tenant_key(kept.tenant_id, "limit", kind[0], name)
                found.append(Bucket(key, kind, per_minute, depth_us(percent, per_minute), rule.subject))
    return tuple(found)


def _under_the_operators(rules: list[Rule]) -> list[Rule]:
    """What the operator grants any tenant is a ceiling: a tenant's own limit may only be lower."""
    if settings.DEFAULT_RPM is None and settings.DEFAULT_TPM is None:
        return rules
    own = next((rule for rule in rules if rule.subject == "tenant"), Rule("tenant", None, "", None, None))
    bound = Rule(
        subject="tenant",
        api_key_id=None,
        model="",
        requests_per_minute=_lower(own.requests_per_minute, settings.DEFAULT_RPM),
        tokens_per_minute=_lower(own.tokens_per_minute, settings.DEFAULT_TPM),
        requests_burst_percent=min(100, own.requests_burst_percent),
        tokens_burst_percent=min(100, own.tokens_burst_percent),
    )
    return [bound, *(rule for rule in rules if rule.subject != "tenant")]


def _lower(own: int | None, operators: int | None) -> int | None:
    return min((value for value in (own, operators) if value is not None), default=None)
