"""Prices in force, and the price simulator, in REST."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from billing.types import FINER, PRICED_METERS, SERVICES, STANDARD, Tokens
from kernel.api.pagination import Cursor
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import StrictSerializer, page_of
from kernel.api.views import TenantAPIView, without_transaction
from kernel.errors import InvalidRequest, PermissionDenied
from kernel.loop import on_loop
from providers.services import prices
from tenants.api.base import principal_of
from tenants.principals import Principal

_COST = "What your own provider asks; null for models of the platform."


class PriceOutput(serializers.Serializer[Any]):
    """The price of a meter."""

    meter = serializers.ChoiceField(PRICED_METERS)
    price = serializers.UUIDField(help_text="The version of the price, which charges name.")
    nano_per_mtok = serializers.IntegerField(help_text="What a million tokens are charged, in nano-USD.")
    cost_nano_per_mtok = serializers.IntegerField(allow_null=True, help_text=_COST)


class TierOutput(serializers.Serializer[Any]):
    """The prices of requests that are served in a way, and read more than `above_tokens`: of all their tokens."""

    service = serializers.ChoiceField(SERVICES)
    above_tokens = serializers.IntegerField()
    prices = PriceOutput(many=True)


class ModelPricesOutput(serializers.Serializer[Any]):
    """A model, and what it costs where it is tried first. One without tiers has no price, and can't be used."""

    model = serializers.CharField()
    provider = serializers.CharField()
    own = serializers.BooleanField(help_text="Called with the tenant's own key.")
    tiers = TierOutput(many=True)


class PricesView(TenantAPIView):
    """The prices in force, of the models that one may use, by alias."""

    permissions = {"GET": "models.use"}

    @extend_schema(
        operation_id="billing_prices_list",
        parameters=PAGE_PARAMETERS,
        responses=page_of(ModelPricesOutput(many=True), "ModelPricesPage"),
        tags=["billing"],
    )
    @without_transaction
    def get(self, request: Request) -> Response:
        asked = Cursor.of(request)
        found = on_loop(prices.model_prices(principal_of(request), after=asked.after, limit=asked.limit))
        return Response(asked.page(found, render=_prices_body, key=lambda one: one.alias).body())


def _prices_body(model: prices.ModelPrices) -> dict[str, Any]:
    return {
        "model": model.alias,
        "provider": model.provider,
        "own": model.own,
        "tiers": [
            {
                "service": tier.service,
                "above_tokens": tier.above_tokens,
                "prices": [
                    {
                        "meter": meter,
                        "price": str(rate.price_id),
                        "nano_per_mtok": rate.sell_nano_per_mtok,
                        "cost_nano_per_mtok": rate.cost_nano_per_mtok if model.own else None,
                    }
                    for meter in PRICED_METERS
                    if (rate := tier.rates.get(meter)) is not None
                ],
            }
            for tier in model.tiers
        ],
    }


class TokensInput(StrictSerializer):
    """Tokens by meter. Those of the finer meters are part of the meter that they belong to."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {
            meter: serializers.IntegerField(
                min_value=0,
                max_value=prices.MAX_TOKENS,
                default=0,
                help_text=f"Part of `{FINER[meter]}`." if meter in FINER else "",
            )
            for meter in PRICED_METERS
        }


class PeriodInput(StrictSerializer):
    """The tenant's past use, of one model or of all."""

    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    model = serializers.CharField(max_length=200, required=False, allow_null=True, default=None)


class SimulationInput(StrictSerializer):
    """What to price with `model`: just one of `tokens`, `text` (to be read, with `output_tokens` to be written) and `usage`."""

    model = serializers.CharField(max_length=200)
    service = serializers.ChoiceField(SERVICES, default=STANDARD)
    tokens = TokensInput(required=False)
    text = serializers.CharField(max_length=prices.MAX_TEXT_CHARS, required=False, trim_whitespace=False)
    output_tokens = serializers.IntegerField(min_value=0, max_value=prices.MAX_TOKENS, default=0)
    usage = PeriodInput(required=False)


class LineOutput(serializers.Serializer[Any]):
    """What the tokens of a meter come to."""

    meter = serializers.ChoiceField(PRICED_METERS)
    tokens = serializers.IntegerField()
    tier = serializers.CharField(help_text="Such as `standard`, or `standard>200000` for long prompts.")
    price = serializers.UUIDField()
    nano = serializers.IntegerField()
    cost_nano = serializers.IntegerField(allow_null=True, help_text=_COST)


class OptionOutput(serializers.Serializer[Any]):
    """What it comes to at one of the model's deployments."""

    provider = serializers.CharField()
    own = serializers.BooleanField()
    tier = serializers.CharField(help_text="Of past use that of each request holds: see the lines.")
    nano = serializers.IntegerField(help_text="What is charged, in nano-USD.")
    cost_nano = serializers.IntegerField(allow_null=True, help_text=_COST)
    lines = LineOutput(many=True)


class SimulationOutput(serializers.Serializer[Any]):
    """Options in the order in which deployments are tried. `requests` and `charged_nano` are of past use: how many requests
    there were, and what they were charged."""

    model = serializers.CharField()
    tokens = serializers.DictField(child=serializers.IntegerField())
    options = OptionOutput(many=True)
    requests = serializers.IntegerField(allow_null=True)
    charged_nano = serializers.IntegerField(allow_null=True)


class PriceSimulationsView(TenantAPIView):
    """The price simulator. Nothing is called, held or charged."""

    permissions = {"POST": "models.use"}

    @extend_schema(
        operation_id="billing_price_simulations_create",
        request=SimulationInput,
        responses=SimulationOutput,
        tags=["billing"],
    )
    @without_transaction
    def post(self, request: Request) -> Response:
        asked = SimulationInput(data=request.data)
        asked.is_valid(raise_exception=True)
        return Response(
            _simulation_body(asked.validated_data["model"], _simulated(principal_of(request), asked.validated_data))
        )


def _simulated(caller: Principal, said: Mapping[str, Any]) -> prices.Simulation:
    if sum(name in said for name in ("tokens", "text", "usage")) != 1:
        raise InvalidRequest("Just one of `tokens`, `text` and `usage` is needed.")
    alias, service = said["model"], said["service"]
    if "tokens" in said:
        tokens = Tokens(**said["tokens"])
        if any(getattr(tokens, meter) > getattr(tokens, whole) for meter, whole in FINER.items()):
            raise InvalidRequest("A finer meter counts part of the meter it belongs to, and can't be more.")
        return on_loop(prices.simulate_tokens(caller, alias=alias, tokens=tokens, service=service))
    if "text" in said:
        output = said["output_tokens"]
        return on_loop(
            prices.simulate_text(caller, alias=alias, text=said["text"], output_tokens=output, service=service)
        )
    if not caller.may("usage.read"):
        raise PermissionDenied(details={"permission": "usage.read"})
    usage = said["usage"]
    period = prices.Period(usage["since"], usage["until"], usage["model"])
    return on_loop(prices.simulate_period(caller, alias=alias, period=period))


def _simulation_body(alias: str, done: prices.Simulation) -> dict[str, Any]:
    return {
        "model": alias,
        "tokens": {meter: count for meter in PRICED_METERS if (count := getattr(done.tokens, meter))},
        "options": [
            {
                "provider": one.provider,
                "own": one.own,
                "tier": one.tier,
                "nano": one.charge.sell_nano,
                "cost_nano": one.charge.cost_nano if one.own else None,
                "lines": [
                    {
                        "meter": line["meter"],
                        "tokens": line["tokens"],
                        "tier": line["tier"],
                        "price": line["price"],
                        "nano": line["sell_nano"],
                        "cost_nano": line["cost_nano"] if one.own else None,
                    }
                    for line in one.charge.lines
                ],
            }
            for one in done.options
        ],
        "requests": done.requests,
        "charged_nano": done.was_sell_nano,
    }
