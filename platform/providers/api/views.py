"""The models that one may use."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kernel.api.serializers import list_of
from kernel.api.views import TenantAPIView
from providers.models import ModelRole
from providers.routes import models_of_tenant
from providers.services.routing import model_roles
from tenants.api.base import principal_of


class ModelOutput(serializers.Serializer[Any]):
    """A model, by the alias to call it."""

    alias = serializers.CharField()
    name = serializers.CharField()
    provider = serializers.CharField()
    context_tokens = serializers.IntegerField(allow_null=True, help_text="Prompt and answer together, where known.")
    default = serializers.BooleanField(help_text="The tenant's choice for whoever makes none.")


ModelsOutput = list_of(ModelOutput(many=True), "Models")


class ModelsView(TenantAPIView):
    """The models this caller may use, by alias."""

    permissions = {"GET": "models.use"}

    @extend_schema(operation_id="models_list", responses=ModelsOutput, tags=["models"])
    def get(self, request: Request) -> Response:
        models = models_of_tenant(principal_of(request))
        chosen = model_roles()[ModelRole.Role.CHAT]
        return Response(
            {
                "data": [
                    {
                        "alias": model.alias,
                        "name": model.alias,
                        "provider": model.provider,
                        "context_tokens": model.context_tokens,
                        "default": model.alias == chosen,
                    }
                    for model in models
                ]
            }
        )
