"""What the lists of presets and of prompts have in common."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from chat.services import library
from chat.shapes import body
from kernel.api.pagination import Cursor
from tenants.api.base import principal_of

SEARCH = OpenApiParameter("search", OpenApiTypes.STR, description="A part of the name, in any case.")


async def found_page(request: Request, shelf: library.Shelf[Any]) -> Response:
    """A page of what the caller sees."""
    asked = Cursor.of(request)
    found = await library.find(
        shelf,
        member=principal_of(request),
        search=request.query_params.get("search", ""),
        before=asked.uuid(),
        limit=asked.limit + 1,
    )
    return Response(asked.page(found, render=body, key=lambda one: str(one.id)).body())
