"""The prompt library over REST."""

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
    LIBRARY_NAME_CHARS_MAX,
    MESSAGE_CHARS_MAX,
    PROMPT_CHARS_MAX,
    PROMPT_VARIABLES_MAX,
    VARIABLE_DEFAULT_CHARS_MAX,
    VARIABLE_LABEL_CHARS_MAX,
    VARIABLE_NAME_CHARS_MAX,
)
from chat.services import library
from chat.services.prompts import PROMPTS, PromptChange, Variable, create_prompt, render_prompt, update_prompt
from chat.shapes import body
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import StrictSerializer, page_of
from tenants.api.base import principal_of


class VariableInput(StrictSerializer):
    """A value to be given."""

    name = serializers.CharField(
        max_length=VARIABLE_NAME_CHARS_MAX, help_text="A letter, then letters, digits and _; in the text `{{name}}`."
    )
    # Every field has attributes of these names; declared fields are taken out of the class.
    label = serializers.CharField(  # type: ignore[assignment]
        max_length=VARIABLE_LABEL_CHARS_MAX, required=False, allow_blank=True, help_text="What is wanted, for people."
    )
    default = serializers.CharField(
        max_length=VARIABLE_DEFAULT_CHARS_MAX,
        required=False,
        allow_blank=True,
        allow_null=True,
        trim_whitespace=False,
        help_text="Stands where no value is given.",
    )
    required = serializers.BooleanField(  # type: ignore[assignment]
        required=False, help_text="Whether there must be a value, or a default. True unless told."
    )


class _PromptTerms(StrictSerializer):
    visibility = serializers.ChoiceField(
        library.VISIBILITIES,
        required=False,
        help_text="`shared`: everybody in the tenant sees it. Personal unless told.",
    )
    variables = serializers.ListField(
        child=VariableInput(),
        required=False,
        max_length=PROMPT_VARIABLES_MAX,
        help_text="All that the text names. Set as a whole.",
    )


class PromptInput(_PromptTerms):
    """A new prompt."""

    name = serializers.CharField(max_length=LIBRARY_NAME_CHARS_MAX)
    text = serializers.CharField(max_length=PROMPT_CHARS_MAX, trim_whitespace=False)


class PromptChangeInput(_PromptTerms):
    """What to change; what is left out stays."""

    name = serializers.CharField(max_length=LIBRARY_NAME_CHARS_MAX, required=False)
    text = serializers.CharField(max_length=PROMPT_CHARS_MAX, trim_whitespace=False, required=False)
    version = serializers.IntegerField(min_value=1, help_text="The one it was read at. 409 if it is another by now.")


class VariableOutput(serializers.Serializer[Any]):
    """A value to be given."""

    name = serializers.CharField()
    label = serializers.CharField(allow_blank=True)  # type: ignore[assignment]
    default = serializers.CharField(allow_null=True, allow_blank=True)
    required = serializers.BooleanField()  # type: ignore[assignment]


class PromptOutput(serializers.Serializer[Any]):
    """A prompt."""

    id = serializers.UUIDField()
    owner = serializers.UUIDField(help_text="The membership.")
    name = serializers.CharField()
    visibility = serializers.ChoiceField(library.VISIBILITIES)
    text = serializers.CharField()
    variables = VariableOutput(many=True)
    version = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class ValuesInput(StrictSerializer):
    """Values of a prompt's variables."""

    values = serializers.DictField(
        child=serializers.CharField(max_length=MESSAGE_CHARS_MAX, allow_blank=True, trim_whitespace=False),
        required=False,
        default=dict,
        help_text="By the variables' names.",
    )


class RenderedOutput(serializers.Serializer[Any]):
    """What a prompt says with values in it."""

    text = serializers.CharField(allow_blank=True)


class PromptsView(RoomsAPIView):
    """One's own prompts, and those that are shared."""

    permissions = {"GET": "rooms.read", "POST": "rooms.write"}

    @extend_schema(
        operation_id="prompts_list",
        description="Newest first.",
        parameters=[*PAGE_PARAMETERS, SEARCH],
        responses=page_of(PromptOutput(many=True), "PromptPage"),
        tags=["prompts"],
    )
    async def get(self, request: Request) -> Response:
        return await found_page(request, PROMPTS)

    @extend_schema(
        operation_id="prompts_create",
        description="Sharing it needs `presets.share`.",
        request=PromptInput,
        responses={201: PromptOutput},
        tags=["prompts"],
    )
    async def post(self, request: Request) -> Response:
        given = PromptInput(data=request.data)
        given.is_valid(raise_exception=True)
        made = await create_prompt(member=principal_of(request), **_terms(given.validated_data))
        return Response(body(made), status=status.HTTP_201_CREATED)


class PromptView(RoomsAPIView):
    """One prompt."""

    permissions = {"GET": "rooms.read", "PATCH": "rooms.write", "DELETE": "rooms.write"}

    @extend_schema(operation_id="prompts_get", responses=PromptOutput, tags=["prompts"])
    async def get(self, request: Request, prompt_id: uuid.UUID) -> Response:
        return Response(body(await library.read(PROMPTS, member=principal_of(request), id_=prompt_id)))

    @extend_schema(
        operation_id="prompts_update",
        description="Who has it may; a shared one also whoever manages rooms (`rooms.manage`).",
        request=PromptChangeInput,
        responses=PromptOutput,
        tags=["prompts"],
    )
    async def patch(self, request: Request, prompt_id: uuid.UUID) -> Response:
        given = PromptChangeInput(data=request.data)
        given.is_valid(raise_exception=True)
        terms = _terms(given.validated_data)
        version = terms.pop("version")
        change = PromptChange(**{name: terms.get(name, UNSET) for name in PromptChange.__struct_fields__})
        changed = await update_prompt(member=principal_of(request), prompt_id=prompt_id, version=version, change=change)
        return Response(body(changed))

    @extend_schema(operation_id="prompts_delete", responses={204: None}, tags=["prompts"])
    async def delete(self, request: Request, prompt_id: uuid.UUID) -> Response:
        await library.remove(PROMPTS, member=principal_of(request), id_=prompt_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class RenderView(RoomsAPIView):
    """A prompt with values in it."""

    permissions = {"POST": "rooms.read"}

    @extend_schema(
        operation_id="prompts_render",
        description="Puts values where the text names variables, as they are. 400 names what is unknown or missing.",
        request=ValuesInput,
        responses=RenderedOutput,
        tags=["prompts"],
    )
    async def post(self, request: Request, prompt_id: uuid.UUID) -> Response:
        given = ValuesInput(data=request.data)
        given.is_valid(raise_exception=True)
        text = await render_prompt(
            member=principal_of(request), prompt_id=prompt_id, values=given.validated_data["values"]
        )
        return Response({"text": text})


def _terms(given: dict[str, Any]) -> dict[str, Any]:
    if "variables" in given:
        found = [dict(variable) for variable in given["variables"]]
        return {**given, "variables": msgspec.convert(found, tuple[Variable, ...])}
    return dict(given)
