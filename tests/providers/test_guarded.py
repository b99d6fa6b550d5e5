"""A target whose address a tenant chose is called through `kernel.egress`, whatever the adapter."""

from dataclasses import replace
from typing import Any

import pytest

from providers.adapters.openai.adapter import OpenAICompatible
from providers.base import DEFAULT_TIMEOUTS, Target
from providers.errors import Misconfigured, ProviderError, Transient
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.providers.conftest import ask

pytestmark = pytest.mark.no_database


async def call(adapter: OpenAICompatible, target: Target) -> str:
    return (await adapter.complete(ask(stream=False), target, DEFAULT_TIMEOUTS)).text


async def test_a_tenants_target_reaches_no_private_address(
    adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream
) -> None:
    assert await call(adapter, target)
    seen = len(upstream.records)
    connections = upstream.open_connections
    ours = replace(target, guarded=True)
    for hidden in (ours, replace(ours, base_url=ours.base_url.replace("http:", "https:"))):
        with pytest.raises(Misconfigured) as refused:
            await call(adapter, hidden)
        assert "127.0.0.1" not in str(refused.value)
    with pytest.raises(ProviderError):
        await call(adapter, replace(ours, base_url="https://localhost/v1"))
    assert (len(upstream.records), upstream.open_connections) == (seen, connections)


async def test_an_operator_may_allow_a_network(
    adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream, settings: Any
) -> None:
    settings.EGRESS_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    assert await call(adapter, replace(target, guarded=True))
    assert [record.outcome for record in upstream.records] == ["complete"]
    elsewhere = replace(target, guarded=True, base_url="http://[::1]:1/v1")
    with pytest.raises(Misconfigured):
        await call(adapter, elsewhere)


async def test_a_name_without_a_public_address_can_not_be_connected_to(adapter: OpenAICompatible) -> None:
    target = Target("openai-compatible", "https://localhost", "m", secret="sk-upstream", guarded=True)
    with pytest.raises(Transient) as refused:
        await call(adapter, target)
    assert refused.value.cause == "connect"


async def test_both_kinds_of_connection_are_closed(
    adapter: OpenAICompatible, target: Target, upstream: OpenAIUpstream, settings: Any
) -> None:
    settings.EGRESS_ALLOWED_NETWORKS = ("127.0.0.0/8",)
    await call(adapter, target)
    await call(adapter, replace(target, guarded=True))
    await adapter.close()
    assert await call(adapter, replace(target, guarded=True))
