"""The plans that the platform offers: made by operators, never changed, replaced by new versions."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from billing.models import Plan
from kernel.errors import InvalidRequest, NotFound

PLATFORM = "platform"
PLANS_MAX = 1_000


def create_plan(*, slug: str, name: str, kind: str, terms: Mapping[str, Any] | None = None) -> Plan:
    """Offer a plan, or a new version of one, which is then the one offered; who has an older one keeps it.

    `terms` are fields of `Plan`. Raises `InvalidRequest` naming the bad ones.
    """
    with transaction.atomic(using=PLATFORM):
        versions = Plan.objects.using(PLATFORM).filter(slug=slug)
        latest = versions.order_by("-version").first()
        plan = Plan(slug=slug, name=name, kind=kind, version=latest.version + 1 if latest else 1, **dict(terms or {}))
        try:
            plan.clean_fields()
            plan.validate_constraints(exclude=set())
        except ValidationError as error:
            raise InvalidRequest("; ".join(error.messages)) from error
        if Plan.objects.using(PLATFORM).count() >= PLANS_MAX:
            raise InvalidRequest(f"There are {PLANS_MAX} versions of plans already.")
        versions.update(is_offered=False)
        plan.save(using=PLATFORM, force_insert=True)
    # As everybody sees it: relations don't cross connections.
    return Plan.objects.get(id=plan.id)


def withdraw_plan(*, slug: str) -> Plan:
    """Offer a plan no longer; who has it keeps it. Raises `NotFound`."""
    plan = plan_by_slug(slug)
    Plan.objects.using(PLATFORM).filter(slug=slug).update(is_offered=False)
    return plan


def plan_by_slug(slug: str, *, only_offered: bool = False) -> Plan:
    """The latest version of a plan. Raises `NotFound`."""
    plans = Plan.objects.filter(slug=slug)
    plan = (plans.filter(is_offered=True) if only_offered else plans).order_by("-version").first()
    if plan is None:
        raise NotFound(f"There is no plan {slug!r}.", details={"plan": slug[:64]})
    return plan


def all_plans() -> Sequence[Plan]:
    """Every version, as operators see them."""
    return list(Plan.objects.using(PLATFORM).order_by("slug", "version")[:PLANS_MAX])
