"""What a request needs of a model, and which deployments have it.

What a deployment can do is what is known of its model (`profiles`), else what its provider can (`registry`). Where
neither is known nothing is refused: the provider decides."""

from collections.abc import Sequence

from providers import registry
from providers.errors import Unsupported
from providers.estimate import estimate_input
from providers.profiles import Capability, profile
from providers.routes import ResolvedDeployment
from providers.types import ChatRequest, ImagePart, Request, ResponseFormat

Needs = tuple[tuple[Capability, str], ...]
"""Capabilities, each with the name of the field that asks for it."""

HARMLESS: frozenset[Capability] = frozenset({"logprobs", "reasoning", "seed"})
"""What a caller who lets parameters be dropped can do without."""


def needs(request: Request) -> Needs:
    """What this request asks for beyond text."""
    if not isinstance(request, ChatRequest):
        return ()
    found: list[tuple[Capability, str]] = []
    if request.tools:
        found.append(("tools", "tools"))
    if isinstance(request.response_format, ResponseFormat) and request.response_format.kind != "text":
        found.append((request.response_format.kind, "response_format"))
    if request.logprobs:
        found.append(("logprobs", "logprobs"))
    if request.reasoning_effort is not None and request.reasoning_effort != "none":
        found.append(("reasoning", "reasoning_effort"))
    elif request.reasoning_budget:
        found.append(("reasoning", "reasoning_budget"))
    if request.seed is not None:
        found.append(("seed", "seed"))
    if any(isinstance(part, ImagePart) for message in request.messages for part in message.content):
        found.append(("images", "messages"))
    return tuple(found)


def known_capabilities(provider: str, model: str) -> frozenset[Capability] | None:
    """What a model of a provider can do; None where that isn't known."""
    capabilities = profile(model).capabilities
    return registry.get(provider).capabilities if capabilities is None else capabilities


def lacking(needed: Needs, deployment: ResolvedDeployment) -> Unsupported | None:
    """What keeps this deployment from serving such a request, if anything."""
    if not needed:
        return None
    able = known_capabilities(deployment.provider, deployment.model)
    if able is None:
        return None
    for capability, param in needed:
        if capability not in able:
            return Unsupported(f"The model can't do `{capability}`, which `{param}` asks for.", param=param)
    return None


def roomy_first(request: Request, deployments: Sequence[ResolvedDeployment]) -> Sequence[ResolvedDeployment]:
    """The same deployments, those last whose model seems too small for the request. Lengths are estimates, so that
    none is left out."""
    sizes = [profile(deployment.model).context_tokens for deployment in deployments]
    known = [size for size in sizes if size is not None]
    if len(deployments) < 2 or not known:
        return deployments
    tokens = estimate_input(request)
    if tokens <= min(known):
        return deployments
    return [
        deployment
        for _, deployment in sorted(
            zip(sizes, deployments, strict=True), key=lambda one: one[0] is not None and one[0] < tokens
        )
    ]
