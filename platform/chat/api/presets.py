"""Presets over REST."""

import uuid
from typing import Any

import msgspec
from drf_spectacular.utils import extend_schema
from msgspec import UNSET
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.base import RoomsAPIView
from chat.api.library import SEARCH, found_page
from chat.bounds import (
    ALIAS_CHARS_MAX,
    INSTRUCTIONS_CHARS_MAX,
    LIBRARY_NAME_CHARS_MAX,
    OUTPUT_TOKENS_MAX,
    STOP_CHARS_MAX,
    STOPS_MAX,
    TEMPERATURE_MAX,
)
from chat.parameters import Parameters
from chat.services import library
from chat.services.presets import PRESETS, PresetChange, create_preset, update_preset
from chat.shapes import body
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import StrictSerializer, page_of
from tenants.api.base import principal_of


class ParametersInput(StrictSerializer):
    """How a model is asked; what is left out is as the model has it."""

    temperature = serializers.FloatField(required=False, allow_null=True, min_value=0, max_value=TEMPERATURE_MAX)
    top_p = serializers.FloatField(required=False, allow_null=True, min_value=0, max_value=1)
    max_output_tokens = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=OUTPUT_TOKENS_MAX
    )
    stop = serializers.ListField(
        child=serializers.CharField(max_length=STOP_CHARS_MAX, trim_whitespace=False),
        required=False,
        max_length=STOPS_MAX,
        help_text="An answer ends before any of these.",
    )


class _PresetTerms(StrictSerializer):
    visibility = serializers.ChoiceField(
        library.VISIBILITIES,
        required=False,
        help_text="`shared`: everybody in the tenant sees it. Personal unless told.",
    )
    model = serializers.CharField(
        max_length=ALIAS_CHARS_MAX, required=False, allow_null=True, help_text="Alias; null: the default."
    )
    instructions = serializers.CharField(
        max_length=INSTRUCTIONS_CHARS_MAX,
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        help_text="What models are told before the conversation, and before the room's own.",
    )
    parameters = ParametersInput(required=False, help_text="Set as a whole.")


class PresetInput(_PresetTerms):
    """A new preset."""

    name = serializers.CharField(max_length=LIBRARY_NAME_CHARS_MAX)


class PresetChangeInput(_PresetTerms):
    """What to change; what is left out stays."""

    name = serializers.CharField(max_length=LIBRARY_NAME_CHARS_MAX, required=False)
    version = serializers.IntegerField(min_value=1, help_text="The one it was read at. 409 if it is another by now.")


class ParametersOutput(serializers.Serializer[Any]):
    """How a model is asked; what isn't there is as the model has it."""

    temperature = serializers.FloatField(required=False)
    top_p = serializers.FloatField(required=False)
    max_output_tokens = serializers.IntegerField(required=False)
    stop = serializers.ListField(child=serializers.CharField(), required=False)


class PresetOutput(serializers.Serializer[Any]):
    """A preset."""

    id = serializers.UUIDField()
    owner = serializers.UUIDField(help_text="The membership.")
    name = serializers.CharField()
    visibility = serializers.ChoiceField(library.VISIBILITIES)
    model = serializers.CharField(allow_null=True, help_text="Alias; null: the default.")
    instructions = serializers.CharField(allow_blank=True)
    parameters = ParametersOutput()
    version = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class PresetsView(RoomsAPIView):
    """One's own presets, and those that are shared."""

    permissions = {"GET": "rooms.read", "POST": "rooms.write"}

    @extend_schema(
        operation_id="presets_list",
        description="Newest first.",
        parameters=[*PAGE_PARAMETERS, SEARCH],
        responses=page_of(PresetOutput(many=True), "PresetPage"),
        tags=["presets"],
    )
    async def get(self, request: Request) -> Response:
        return await found_page(request, PRESETS)

    @extend_schema(
        operation_id="presets_create",
        description="Sharing it needs `presets.share`.",
        request=PresetInput,
        responses={201: PresetOutput},
        tags=["presets"],
    )
    async def post(self, request: Request) -> Response:
        given = PresetInput(data=request.data)
        given.is_valid(raise_exception=True)
        made = await create_preset(member=principal_of(request), **_terms(given.validated_data))
        return Response(body(made), status=status.HTTP_201_CREATED)


class PresetView(RoomsAPIView):
    """One preset."""

    permissions = {"GET": "rooms.read", "PATCH": "rooms.write", "DELETE": "rooms.write"}

    @extend_schema(operation_id="presets_get", responses=PresetOutput, tags=["presets"])
    async def get(self, request: Request, preset_id: uuid.UUID) -> Response:
        return Response(body(await library.read(PRESETS, member=principal_of(request), id_=preset_id)))

    @extend_schema(
        operation_id="presets_update",
        description="Who has it may; a shared one also whoever manages rooms (`rooms.manage`).",
        request=PresetChangeInput,
        responses=PresetOutput,
        tags=["presets"],
    )
    async def patch(self, request: Request, preset_id: uuid.UUID) -> Response:
        given = PresetChangeInput(data=request.data)
        given.is_valid(raise_exception=True)
        terms = _terms(given.validated_data)
        version = terms.pop("version")
        change = PresetChange(**{name: terms.get(name, UNSET) for name in PresetChange.__struct_fields__})
        changed = await update_preset(member=principal_of(request), preset_id=preset_id, version=version, change=change)
        return Response(body(changed))

    @extend_schema(operation_id="presets_delete", responses={204: None}, tags=["presets"])
    async def delete(self, request: Request, preset_id: uuid.UUID) -> Response:
        await library.remove(PRESETS, member=principal_of(request), id_=preset_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _terms(given: dict[str, Any]) -> dict[str, Any]:
    if "parameters" in given:
        return {**given, "parameters": msgspec.convert(dict(given["parameters"]), Parameters)}
    return dict(given)
