"""The model factory: from a provider's name to an adapter that works on this event loop, and to where it
should go."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from providers import registry
from providers.base import Adapter, Target
from providers.registry import ProviderSpec


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether the environment provides for a provider; `reason` says what is missing when not."""

    provider: str
    available: bool
    reason: str | None = None


class ModelFactory:
    """Builds adapters, one per provider and event loop, and knows the platform's default route.

    `environment` holds the values of the variables that the providers' specs name. A provider whose key or
    address is missing there is unavailable for the platform's own use; connections that bring theirs can
    still be served. Raises UnknownProvider for a primary or fallback that doesn't exist."""

    def __init__(
        self,
        *,
        environment: Mapping[str, str] | None = None,
        primary: str | None = None,
        fallbacks: Sequence[str] = (),
    ) -> None:
        self._environment = dict(environment or {})
        self._order = tuple(dict.fromkeys((*((primary,) if primary else ()), *fallbacks)))
        for name in self._order:
            registry.get(name)
        self._adapters: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Adapter]] = WeakKeyDictionary()

    @property
    def order(self) -> tuple[str, ...]:
        """The primary provider, then the fallbacks."""
        return self._order

    def adapter(self, provider: str) -> Adapter:
        """The adapter of this provider for the running event loop. Raises UnknownProvider."""
        pool = self._adapters.setdefault(asyncio.get_running_loop(), {})
        adapter = pool.get(provider)
        if adapter is None:
            adapter = pool[provider] = registry.get(provider).adapter()
        return adapter

    def availability(self, provider: str) -> Availability:
        """Whether the platform can use this provider by its environment. Raises UnknownProvider."""
        spec = registry.get(provider)
        if spec.needs_key and not self._value(spec.key_variable):
            return Availability(provider, available=False, reason=f"{spec.key_variable} is not set")
        if not self._base_url(spec):
            return Availability(provider, available=False, reason=f"{spec.url_variable} is not set")
        return Availability(provider, available=True)

    def platform_target(self, provider: str, model: str | None = None) -> Target | None:
        """Where the platform's own use of this provider goes: `model`, or its first default. None if
        unavailable."""
        spec = registry.get(provider)
        name = model or next(iter(spec.models), None)
        base_url = self._base_url(spec)
        if name is None or base_url is None or not self.availability(provider).available:
            return None
        return Target(spec.name, base_url, name, self._value(spec.key_variable))

    def default_targets(self) -> tuple[Target, ...]:
        """The platform's default route: the primary provider, then the fallbacks, those that are
        available."""
        targets = (self.platform_target(name) for name in self._order)
        return tuple(target for target in targets if target is not None)

    async def close(self) -> None:
        """Close the connections of the running event loop."""
        for adapter in self._adapters.pop(asyncio.get_running_loop(), {}).values():
            await adapter.close()

    def _value(self, variable: str | None) -> str | None:
        return (self._environment.get(variable) or None) if variable else None

    def _base_url(self, spec: ProviderSpec) -> str | None:
        return self._value(spec.url_variable) or spec.base_url
