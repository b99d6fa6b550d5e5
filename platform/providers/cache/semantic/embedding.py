"""Whose vectors a question has: an embedder of this process by its name, or `route:ALIAS`, a tenant's model for embeddings,
asked with the rights of whoever asks the question."""

from collections.abc import Callable

from providers.semantic import embedders
from providers.semantic.embedders.base import Embedder
from providers.semantic.errors import EmbedderMissing
from tenants.principals import Principal

ROUTE = "route:"
Routed = Callable[[Principal, str], Embedder]
_routed: list[Routed] = []


def embedder_for(name: str, principal: Principal | None) -> Embedder:
    """The embedder of that name, for a caller. Raises EmbedderMissing."""
    if not name.startswith(ROUTE):
        return embedders.get(name)
    if principal is None or not _routed:
        raise EmbedderMissing(f"Nobody can be asked for {name} here.")
    return _routed[-1](principal, name.removeprefix(ROUTE))


def check_name(name: str) -> None:
    """Raises EmbedderMissing for a name that can't be an embedder's."""
    if name.startswith(ROUTE):
        if not name.removeprefix(ROUTE).strip():
            raise EmbedderMissing("After `route:` the alias of a model for embeddings is needed.")
        return
    embedders.get(name)


def on_routes(routed: Routed) -> None:
    """Have `route:…` answered by this: the pipeline, which itself has look-ups in it."""
    _routed.append(routed)
