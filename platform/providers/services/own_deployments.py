"""A tenant's own deployments: models on its own connections, each reached by an alias.

What they cost is between the tenant and its provider. Unless it says otherwise their prices are zero, entered explicitly:
tokens are counted, and nothing is charged.
"""

import uuid

from django.conf import settings
from django.db.models import Max

from billing.tariffs import set_prices
from kernel.errors import Conflict, InvalidRequest, NotFound
from kernel.tenancy import current_tenant_id
from providers.models import Connection, Deployment, PlatformRoute, Route, RouteTarget
from providers.services.access import inherit_access
from providers.services.own_connections import access_connection, delete_idle_routes, routes_served_by
from providers.services.terms import check_prompt_format
from tenants.principals import Principal
from tenants.services.audit import record


def create_deployment(
    *,
    caller: Principal,
    connection_id: uuid.UUID,
    model: str,
    alias: str | None = None,
    input_nano_per_mtok: int = 0,
    output_nano_per_mtok: int = 0,
    prompt_format: str = "",
) -> Deployment:
    """Offer a model of a connection by `alias` (the model's own name unless told), as the last to be tried of that alias.

    Prices are in nano-USD for a million tokens. Raises `Conflict` for a model that is offered already, and
    `InvalidRequest` for a prompt format that isn't, an alias that can't be, or one that the caller's key isn't for.
    """
    connection = access_connection(connection_id=connection_id, lock=True)
    model, alias = _checked("model", model), _checked("alias", alias if alias is not None else model)
    if not caller.may_use(alias):
        raise InvalidRequest("alias: your key isn't for this model.", details={"param": "alias"})
    siblings = Deployment.objects.filter(connection=connection)
    if siblings.filter(model=model).exists():
        raise Conflict(f"This connection offers {model!r} already.")
    if siblings.count() >= settings.DEPLOYMENTS_PER_CONNECTION_MAX:
        raise Conflict(f"This connection has {settings.DEPLOYMENTS_PER_CONNECTION_MAX} models; delete some first.")
    tenant_id = current_tenant_id()
    price_model = f"{connection.id}/{model}"
    row = Deployment.objects.create(
        tenant_id=tenant_id,
        connection=connection,
        model=model,
        price_model=price_model,
        prompt_format=check_prompt_format(prompt_format),
    )
    set_prices(
        model=price_model,
        input_nano_per_mtok=input_nano_per_mtok,
        output_nano_per_mtok=output_nano_per_mtok,
        tenant_id=tenant_id,
        using="default",
    )
    _add_to_route(alias, row)
    data = {"connection": str(connection.id), "model": model, "alias": alias}
    record(action="deployment.created", subject_kind="deployment", subject_id=row.id, actor=caller, data=data)
    return row


def change_deployment(
    *, caller: Principal, connection_id: uuid.UUID, deployment_id: uuid.UUID, prompt_format: str | None = None
) -> Deployment:
    """Change how a model is written to; None leaves it. In force within seconds. Raises `NotFound` and `InvalidRequest`."""
    connection = access_connection(connection_id=connection_id, lock=True)
    row = _access(connection, deployment_id)
    if prompt_format is None or check_prompt_format(prompt_format) == row.prompt_format:
        return row
    data = {"model": row.model, "prompt_format": [row.prompt_format, prompt_format]}
    row.prompt_format = prompt_format
    row.save(update_fields=["prompt_format"])
    record(action="deployment.updated", subject_kind="deployment", subject_id=row.id, actor=caller, data=data)
    return row


def delete_deployment(*, caller: Principal, connection_id: uuid.UUID, deployment_id: uuid.UUID) -> None:
    """Offer a model no longer. Aliases that it alone served go with it."""
    connection = access_connection(connection_id=connection_id, lock=True)
    row = _access(connection, deployment_id)
    served = routes_served_by(deployments=[row.id])
    data = {"connection": str(connection.id), "model": row.model}
    row.delete()
    delete_idle_routes(route_ids=served)
    record(action="deployment.deleted", subject_kind="deployment", subject_id=deployment_id, actor=caller, data=data)


def aliases_of(deployments: list[Deployment]) -> dict[uuid.UUID, list[str]]:
    """The aliases that lead to each."""
    found: dict[uuid.UUID, list[str]] = {row.id: [] for row in deployments}
    targets = RouteTarget.objects.filter(deployment__in=found).select_related("route").order_by("route__alias")
    for target in targets:
        if target.deployment_id is not None:
            found[target.deployment_id].append(target.route.alias)
    return found


def _access(connection: Connection, deployment_id: uuid.UUID) -> Deployment:
    row = Deployment.objects.filter(connection=connection, id=deployment_id).first()
    if row is None:
        raise NotFound
    return row


def _add_to_route(alias: str, deployment: Deployment) -> None:
    tenant_id = current_tenant_id()
    route, is_new = Route.objects.get_or_create(alias=alias, tenant_id=tenant_id)
    if is_new and PlatformRoute.objects.filter(alias=alias).exists():
        inherit_access(route=route)
    last = RouteTarget.objects.filter(route=route).aggregate(last=Max("position"))["last"]
    RouteTarget.objects.create(
        tenant_id=tenant_id, route=route, deployment=deployment, position=0 if last is None else last + 1
    )


def _checked(param: str, text: str) -> str:
    if not 1 <= len(text) <= 200 or not text.isprintable() or text != text.strip():
        raise InvalidRequest(f"{param}: from 1 to 200 printable characters are needed.", details={"param": param})
    return text
