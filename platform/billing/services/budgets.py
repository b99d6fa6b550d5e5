"""Budgets that a tenant sets itself: make, change, delete, and how they stand.

Operators' and plans' budgets are shown and can't be changed here. What a budget is for, measures and its period are fixed: its
balances are counted by them.
"""

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from django.db.models import Case, DateField, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone

from billing.models import Alert, Budget, BudgetBalance
from kernel.errors import Conflict, InvalidRequest, NotFound, ParleyError, PermissionDenied
from kernel.tenancy import current_tenant_id
from tenants.epochs import announce_limits
from tenants.models import ApiKey, Tenant
from tenants.principals import Principal
from tenants.services.audit import record
from tenants.services.groups import access_group
from tenants.services.members import access_member

BUDGETS_MAX = 1_000
"""Of a tenant."""
THRESHOLDS_MAX = 10
THRESHOLD_MAX_PERCENT = 1_000
LIMIT_MAX = 10**18
"""In nano-USD (a billion dollars) or tokens."""
ALIAS_CHARS_MAX = 200
SINCE_EVER = date(1970, 1, 1)
"""Where the only period of `total` begins."""
SEES_ALL = "usage.read"
"""The permission of those who see others' budgets."""

Kind = Literal["tenant", "member", "group", "key", "room", "model", "funds"]
KINDS: tuple[Kind, ...] = ("tenant", "member", "group", "key", "room", "model")
"""What a tenant's own budgets may be for. `funds` is a plan's."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a budget is for: the whole tenant, one thing by its `id`, or a model by its alias."""

    kind: Kind
    id: uuid.UUID | None = None
    model: str | None = None

    @property
    def scope(self) -> str:
        """As it is kept, and as holds name it."""
        name = self.model if self.kind == "model" else self.id
        return self.kind if name is None else f"{self.kind}:{name}"

    @classmethod
    def of(cls, scope: str) -> "Subject":
        """What a kept scope says."""
        kind, _, name = scope.partition(":")
        if kind == "model":
            return cls("model", model=name)
        return cls(kind, uuid.UUID(name) if name else None)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Terms:
    """What of a budget may change."""

    name: str
    limit: int
    mode: Literal["hard", "soft", "shadow"]
    thresholds: tuple[int, ...]
    active: bool


def create_budget(
    *,
    caller: Principal,
    subject: Subject,
    measure: Literal["nano", "tokens"],
    period: Literal["day", "month", "total"],
    terms: Terms,
) -> Budget:
    """Make a budget. It counts from now on. Raises `InvalidRequest` for a subject that isn't, `Conflict` for one too many."""
    _check_subject(subject)
    _check_terms(terms)
    if Budget.objects.count() >= BUDGETS_MAX:
        raise Conflict(f"This tenant has {BUDGETS_MAX} budgets; delete some first.")
    budget = Budget.objects.create(
        tenant_id=current_tenant_id(),
        scope=subject.scope,
        measure=measure,
        period=period,
        owner="tenant",
        **_columns(terms),
    )
    announce_limits(budget.tenant_id)
    data = {"scope": budget.scope, "measure": measure, "period": period, **_told(terms)}
    record(action="budget.created", subject_kind="budget", subject_id=budget.id, actor=caller, data=data)
    return budget


def change_budget(*, caller: Principal, budget_id: uuid.UUID, changes: Mapping[str, object]) -> Budget:
    """Change some of a budget's terms. A limit below what was used refuses all that comes, and takes nothing back.

    Raises `NotFound`, and `PermissionDenied` where the tenant isn't the one who set it.
    """
    budget = _own(caller, budget_id)
    old = terms_of(budget)
    new = Terms(**{**asdict(old), **changes})
    _check_terms(new)
    if new == old:
        return budget
    for name, value in _columns(new).items():
        setattr(budget, name, value)
    budget.save(update_fields=list(_columns(new)))
    announce_limits(budget.tenant_id)
    told = _told(new)
    data = {name: [was, told[name]] for name, was in _told(old).items() if was != told[name]}
    record(action="budget.changed", subject_kind="budget", subject_id=budget.id, actor=caller, data=data)
    return budget


def delete_budget(*, caller: Principal, budget_id: uuid.UUID) -> None:
    """Delete a budget with its balances. Raises as `change_budget`."""
    budget = _own(caller, budget_id)
    data = {"scope": budget.scope, "measure": budget.measure, "period": budget.period, **_told(terms_of(budget))}
    budget.delete()
    announce_limits(budget.tenant_id)
    record(action="budget.deleted", subject_kind="budget", subject_id=budget_id, actor=caller, data=data)


def access_budget(*, caller: Principal, budget_id: uuid.UUID) -> Budget:
    """A budget that the caller may see, with its balance. Raises `NotFound`."""
    budget = budgets_of(caller).filter(id=budget_id).first()
    if budget is None:
        raise NotFound
    return budget


def budgets_of(caller: Principal) -> "QuerySet[Budget]":
    """The budgets that a caller may see: all, or those that apply to what they ask for themselves. Those of rooms are for
    whoever sees all. Each row has `held`, `settled`, `would_refuse` and `since` of the present period."""
    today = datetime.now(tz=ZoneInfo(Tenant.objects.get(id=current_tenant_id()).timezone)).date()
    starts = {"day": today, "month": today.replace(day=1), "total": SINCE_EVER}
    budgets = Budget.objects.annotate(
        since=Case(
            *(When(period=period, then=Value(since)) for period, since in starts.items()), output_field=DateField()
        )
    )
    balance = BudgetBalance.objects.filter(budget_id=OuterRef("id"), period_start=OuterRef("since"))
    budgets = budgets.annotate(
        **{name: Coalesce(Subquery(balance.values(name)), 0) for name in ("held", "settled", "would_refuse")}
    )
    if caller.may(SEES_ALL):
        return budgets
    scopes = ["tenant", "funds", f"member:{caller.membership_id}", *(f"group:{group}" for group in caller.groups)]
    keys = ApiKey.objects.filter(membership_id=caller.membership_id).values_list("id", flat=True)
    scopes += [f"key:{key}" for key in keys]
    return budgets.filter(Q(scope__in=scopes) | Q(scope__startswith="model:"))


def alerts_of(caller: Principal) -> "QuerySet[Alert]":
    """The alerts of budgets that the caller may see."""
    alerts = Alert.objects.all()
    return alerts if caller.may(SEES_ALL) else alerts.filter(budget_id__in=budgets_of(caller).values("id"))


def period_end(period: str, since: date) -> date | None:
    """The first day after a period; None where it has no end."""
    if period == "total":
        return None
    return since + timedelta(days=1) if period == "day" else (since + timedelta(days=31)).replace(day=1)


def terms_of(budget: Budget) -> Terms:
    """What may change of a budget."""
    return Terms(
        name=budget.name,
        limit=budget.limit_amount,
        mode=budget.mode,  # type: ignore[arg-type]
        thresholds=tuple(budget.thresholds),
        active=budget.active,
    )


def _own(caller: Principal, budget_id: uuid.UUID) -> Budget:
    """A budget that the tenant set, to be changed."""
    budget = Budget.objects.select_for_update(no_key=True).filter(id=budget_id).first()
    if budget is None or not caller.may(SEES_ALL):
        raise NotFound
    if budget.owner != "tenant":
        raise PermissionDenied("This budget was set by the operator or comes with the plan.")
    return budget


def _columns(terms: Terms) -> dict[str, object]:
    return {
        "name": terms.name,
        "limit_amount": terms.limit,
        "mode": terms.mode,
        "thresholds": sorted(set(terms.thresholds)),
        "active": terms.active,
    }


def _told(terms: Terms) -> dict[str, object]:
    """As the audit says it."""
    return {**asdict(terms), "thresholds": sorted(set(terms.thresholds))}


def _check_terms(terms: Terms) -> None:
    if not terms.name.isprintable():
        raise _invalid("name", "printable characters are needed.")
    if not 0 <= terms.limit <= LIMIT_MAX:
        raise _invalid("limit", f"a whole number from 0 to {LIMIT_MAX} is needed.")
    if len(terms.thresholds) > THRESHOLDS_MAX:
        raise _invalid("thresholds", f"at most {THRESHOLDS_MAX}.")
    if any(not 1 <= percent <= THRESHOLD_MAX_PERCENT for percent in terms.thresholds):
        raise _invalid("thresholds", f"whole percents from 1 to {THRESHOLD_MAX_PERCENT} are needed.")


def _check_subject(subject: Subject) -> None:
    """That it is one, and that it exists. Rooms are named by id alone, and models by what people call them."""
    if subject.kind == "model":
        alias = subject.model
        if subject.id is not None or not alias or len(alias) > ALIAS_CHARS_MAX or not alias.isprintable():
            raise _invalid("scope", "a model is named by `model`, its alias, alone.")
        return
    if subject.model is not None or (subject.id is None) != (subject.kind == "tenant"):
        raise _invalid("scope", "`tenant` is named by its kind alone, a model by `model`, everything else by `id`.")
    try:
        if subject.kind == "member":
            access_member(member_id=_named(subject))
        elif subject.kind == "group":
            access_group(group_id=_named(subject))
        elif subject.kind == "key" and not _live_keys().filter(id=_named(subject)).exists():
            raise NotFound
    except NotFound as error:
        raise _invalid("scope", f"there is no such {subject.kind}.") from error


def _named(subject: Subject) -> uuid.UUID:
    if subject.id is None:
        raise _invalid("scope", "an `id` is needed.")
    return subject.id


def _live_keys() -> "QuerySet[ApiKey]":
    return ApiKey.objects.filter(revoked_at=None).filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))


def _invalid(param: str, problem: str) -> ParleyError:
    return InvalidRequest(f"{param}: {problem}", details={"param": param})
