"""A tenant's own limits: set, change and lift them."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.utils import IntegrityError

from kernel.errors import Conflict, InvalidRequest, NotFound
from kernel.tenancy import current_tenant_id
from providers.models import RateLimit
from tenants.epochs import announce_limits
from tenants.models import ApiKey
from tenants.principals import Principal
from tenants.services.audit import record


@dataclass(frozen=True, slots=True)
class LimitTerms:
    """How much: requests and tokens a minute (None: no limit), and what share of them may come at once, in percent."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    requests_burst_percent: int = 100
    tokens_burst_percent: int = 100

    def check(self) -> "LimitTerms":
        """Raises `InvalidRequest` for terms that limit nothing."""
        if self.requests_per_minute is None and self.tokens_per_minute is None:
            raise InvalidRequest(
                "A limit of requests or of tokens is needed.", details={"param": "requests_per_minute"}
            )
        return self


def all_limits() -> QuerySet[RateLimit]:
    """The limits of the tenant in scope."""
    return RateLimit.objects.all()


def access_limit(*, limit_id: uuid.UUID, lock: bool = False) -> RateLimit:
    """One limit of the tenant in scope. Raises `NotFound`."""
    rows = RateLimit.objects.select_for_update(of=("self",)) if lock else RateLimit.objects.all()
    found = rows.filter(id=limit_id).first()
    if found is None:
        raise NotFound
    return found


def keys_with_limits(keys: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of some keys that have a limit."""
    return set(RateLimit.objects.filter(api_key__in=keys).values_list("api_key_id", flat=True))


def set_limit(
    *, caller: Principal, subject: str, api_key_id: uuid.UUID | None, model: str, terms: LimitTerms
) -> RateLimit:
    """Limit the whole tenant, one of its keys, or a model. Raises `Conflict` where that has a limit already."""
    terms.check()
    _check_subject(subject, api_key_id, model)
    if RateLimit.objects.count() >= settings.RATE_LIMITS_PER_TENANT_MAX:
        raise Conflict(f"This tenant has {settings.RATE_LIMITS_PER_TENANT_MAX} limits; lift some first.")
    if api_key_id is not None and not ApiKey.objects.filter(id=api_key_id).exists():
        raise InvalidRequest("api_key: there is no such key.", details={"param": "api_key"})
    try:
        with transaction.atomic():
            made = RateLimit.objects.create(
                tenant_id=current_tenant_id(),
                subject=subject,
                api_key_id=api_key_id,
                model=model,
                **_columns(terms),
            )
    except IntegrityError as error:
        raise Conflict("There is a limit for this already. Change that one.") from error
    _changed(caller, made, "created")
    return made


def change_limit(*, caller: Principal, limit_id: uuid.UUID, changes: dict[str, Any]) -> RateLimit:
    """Change terms, by their names in `LimitTerms`; those not named stay."""
    limit = access_limit(limit_id=limit_id, lock=True)
    terms = LimitTerms(**{name: changes.get(name, getattr(limit, name)) for name in _TERMS}).check()
    for name, value in _columns(terms).items():
        setattr(limit, name, value)
    limit.save(update_fields=list(_TERMS))
    _changed(caller, limit, "changed")
    return limit


def lift_limit(*, caller: Principal, limit_id: uuid.UUID) -> None:
    """Take a limit away."""
    limit = access_limit(limit_id=limit_id, lock=True)
    _changed(caller, limit, "lifted")
    limit.delete()


_TERMS = tuple(LimitTerms.__dataclass_fields__)


def _columns(terms: LimitTerms) -> dict[str, Any]:
    return {name: getattr(terms, name) for name in _TERMS}


def _check_subject(subject: str, api_key_id: uuid.UUID | None, model: str) -> None:
    wanted = {
        RateLimit.Subject.TENANT: (False, False),
        RateLimit.Subject.API_KEY: (True, False),
        RateLimit.Subject.MODEL: (False, True),
    }[RateLimit.Subject(subject)]
    for name, given, needed in (("api_key", api_key_id is not None, wanted[0]), ("model", bool(model), wanted[1])):
        if given != needed:
            verb = "needs" if needed else "has no"
            raise InvalidRequest(f"{name}: a limit of the subject `{subject}` {verb} {name}.", details={"param": name})
    if "*" in model[:-1]:
        raise InvalidRequest("model: `*` stands at the end, or not at all.", details={"param": "model"})


def _changed(caller: Principal, limit: RateLimit, what: str) -> None:
    announce_limits(limit.tenant_id)
    record(
        action=f"rate_limit.{what}",
        subject_kind="rate_limit",
        subject_id=limit.id,
        actor=caller,
        data={"subject": limit.subject, "model": limit.model, **{name: getattr(limit, name) for name in _TERMS}},
    )
