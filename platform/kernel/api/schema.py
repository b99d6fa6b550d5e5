"""The OpenAPI document: every operation also lists the errors it can answer with, in the one envelope."""

from typing import Any, Literal

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter

from kernel.api.idempotency import HEADER
from kernel.api.pagination import DEFAULT_LIMIT, MAX_LIMIT
from kernel.api.serializers import ErrorSerializer
from kernel.api.views import PUBLIC
from kernel.idempotency import KEY_CHARS_MAX

PAGE_PARAMETERS = [
    OpenApiParameter("cursor", str, description="`next_cursor` of the page before."),
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
        description="Rows a page.",
    ),
]

PAGING = frozenset({"cursor", "limit"})
"""Their names: what else a list is asked is a filter of its own."""

KEY_PARAMETER = OpenApiParameter(
    HEADER,
    {"type": "string", "minLength": 1, "maxLength": KEY_CHARS_MAX},
    location=OpenApiParameter.HEADER,
    description="A name for this request: sent again with it within a day, it is answered as before and done once.",
)

_ALWAYS = ("400", "401", "403", "404", "405", "409", "413", "415", "429", "500", "503")


class Schema(AutoSchema):
    """Adds the error responses."""

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        for status in (*_ALWAYS, *(("422",) if self._may_have_key else ())):
            bodies.setdefault(status, self._get_response_for_code(ErrorSerializer, status))  # type: ignore[no-untyped-call]
        return bodies

    def get_override_parameters(self) -> list[Any]:
        found = list(super().get_override_parameters())
        return [*found, KEY_PARAMETER] if self._may_have_key else found

    @property
    def _may_have_key(self) -> bool:
        permissions = getattr(self.view, "permissions", {})
        return self.method == "POST" and permissions.get("POST") != PUBLIC

    def get_auth(self) -> list[dict[str, list[str]]]:
        permissions = getattr(self.view, "permissions", {})
        if permissions.get(self.method) == PUBLIC:
            return []
        return [{"bearer": []}]
