"""A tenant's rules for what goes through its models."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import QuerySet

from kernel.errors import InvalidRequest
from kernel.tenancy import current_tenant_id
from providers.guardrails.rules import MAX_EXPRESSIONS, compile_expression
from providers.guardrails.store import forget
from providers.models import GatewayPolicy
from providers.services.cache import invalidate
from tenants.principals import Principal
from tenants.services.audit import record


def _stored() -> QuerySet[GatewayPolicy]:
    return GatewayPolicy.objects.filter(name="default")


def policy_in_force() -> GatewayPolicy:
    """The policy of the tenant in scope; one that asks nothing, not stored, where it has none."""
    return _stored().first() or GatewayPolicy(tenant_id=current_tenant_id())


def change_policy(*, actor: Principal, changes: Mapping[str, Any]) -> GatewayPolicy:
    """Change the named fields. Raises InvalidRequest for an expression that RE2 doesn't read, or too many of them."""
    _check("deny", [item["expression"] for item in changes.get("deny", ())])
    _check("allow", changes.get("allow", ()))
    policy = _stored().select_for_update().first() or GatewayPolicy(tenant_id=current_tenant_id())
    for name, value in changes.items():
        setattr(policy, name, value)
    policy.save()
    record(
        action="gateway_policy.changed",
        subject_kind="gateway_policy",
        subject_id=policy.id,
        actor=actor,
        data={"fields": sorted(changes)},
    )
    # Answers that were kept passed the rules there were; these must not be given past the new ones.
    invalidate(model=None, caller=actor)
    forget(policy.tenant_id)
    return policy


def _check(param: str, expressions: Sequence[str]) -> None:
    if len(expressions) > MAX_EXPRESSIONS:
        raise InvalidRequest(f"At most {MAX_EXPRESSIONS} expressions.", details={"param": param})
    for number, expression in enumerate(expressions):
        try:
            compile_expression(expression)
        except InvalidRequest as error:
            raise InvalidRequest(error.message, details={"param": f"{param}[{number}]"}) from error
