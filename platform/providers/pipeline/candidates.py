"""From a resolved route to the deployments that may be tried for one request, in the order of their strategies."""

import random
import uuid
from collections.abc import Sequence

from providers.capabilities import HARMLESS, Needs, lacking, needs, roomy_first
from providers.choice import UNKNOWN, Load, order
from providers.errors import Failure, Unsupported, caller_error
from providers.pipeline.health import health
from providers.routes import Group, ResolvedDeployment, ResolvedRoute
from providers.types import Request


def in_order(
    route: ResolvedRoute, request: Request, *, region: str, lenient: bool = False
) -> Sequence[ResolvedDeployment]:
    """Those that can do what the request asks for: the route's own, then its fallbacks'.

    `lenient` asks for nothing that can be left out. Raises `NotSupported`, naming what none of them can do."""
    needed = needs(request)
    if lenient:
        needed = tuple(need for need in needed if need[0] not in HARMLESS)
    unable: list[Failure] = []
    found: list[ResolvedDeployment] = []
    for group in route.groups:
        able = _able(group, needed, unable)
        found += able if len(able) < 2 else _ordered(able, group.strategy, region)
    if not found:
        raise caller_error(unable)
    return roomy_first(request, found)


def _able(group: Group, needed: Needs, unable: list[Failure]) -> Sequence[ResolvedDeployment]:
    if group.requires:
        needed = (*needed, *((capability, "the route") for capability in group.requires))
    if not needed:
        return group.deployments
    able: list[ResolvedDeployment] = []
    for deployment in group.deployments:
        error: Unsupported | None = lacking(needed, deployment)
        if error is None:
            able.append(deployment)
        else:
            unable.append(Failure(deployment.provider, deployment.name, error))
    return able


def _ordered(deployments: Sequence[ResolvedDeployment], strategy: str, region: str) -> list[ResolvedDeployment]:
    loads = [_load(deployment.id) for deployment in deployments]
    places = order(deployments, loads, strategy=strategy, region=region, chance=random.random)
    return [deployments[place] for place in places]


def _load(deployment_id: uuid.UUID) -> Load:
    known = health.known(deployment_id)
    return UNKNOWN if known is None else Load(known.in_flight, known.latency_s, known.marked)
