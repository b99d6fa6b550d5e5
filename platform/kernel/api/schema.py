"""The OpenAPI document: every operation also lists the errors it can answer with, in the one envelope."""

from typing import Any, Literal

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter

from kernel.api.pagination import DEFAULT_LIMIT, MAX_LIMIT
from kernel.api.serializers import ErrorSerializer
from kernel.api.views import PUBLIC

PAGE_PARAMETERS = [
    OpenApiParameter("cursor", str, description="`next_cursor` of the page before."),
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        description="Rows a page.",
    ),
]

_ALWAYS = ("400", "401", "403", "404", "405", "409", "413", "415", "429", "500", "503")


class Schema(AutoSchema):
    """Adds the error responses."""

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        for status in _ALWAYS:
            bodies.setdefault(status, self._get_response_for_code(ErrorSerializer, status))  # type: ignore[no-untyped-call]
        return bodies

    def get_auth(self) -> list[dict[str, list[str]]]:
        permissions = getattr(self.view, "permissions", {})
        if permissions.get(self.method) == PUBLIC:
            return []
        return [{"bearer": []}]
