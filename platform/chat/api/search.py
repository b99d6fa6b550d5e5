"""Search over REST."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.base import RoomsAPIView
from chat.api.serializers import AuthorOutput
from chat.bounds import SEARCH_CHARS_MAX, SEARCH_PAGE_MAX
from chat.search import Asked, search_messages
from chat.shapes import body
from kernel.api.pagination import Cursor
from kernel.api.schema import PAGE_PARAMETERS, PAGING
from kernel.api.serializers import StrictSerializer
from tenants.api.base import principal_of


class SearchInput(StrictSerializer):
    """What is looked for."""

    q = serializers.CharField(
        max_length=SEARCH_CHARS_MAX,
        help_text='Words that all have to occur; "a phrase", `or` and -without are understood.',
    )
    room = serializers.UUIDField(required=False, default=None, help_text="In this room alone.")
    author = serializers.UUIDField(required=False, default=None, help_text="Said by this membership.")
    since = serializers.DateTimeField(required=False, default=None)
    until = serializers.DateTimeField(required=False, default=None, help_text="Said before this.")


class SnippetPartOutput(serializers.Serializer[Any]):
    """A piece of a message's text. It is text, not HTML."""

    text = serializers.CharField()
    match = serializers.BooleanField()


class HitOutput(serializers.Serializer[Any]):
    """A message that was found."""

    message = serializers.UUIDField()
    room = serializers.UUIDField()
    room_title = serializers.CharField()
    author = AuthorOutput()
    created_at = serializers.DateTimeField()
    snippet = SnippetPartOutput(many=True)
    score = serializers.FloatField(help_text="Compares hits of one search alone.")


class SearchOutput(serializers.Serializer[Any]):
    """A page of hits, best first."""

    # Every serializer has an attribute of this name; declared fields are taken out of the class, so it stays.
    data = HitOutput(many=True)  # type: ignore[assignment]
    next_cursor = serializers.CharField(allow_null=True)
    capped = serializers.BooleanField(help_text="So much matches that only the newest of it was ranked.")


class SearchView(RoomsAPIView):
    """Search in the caller's rooms."""

    permissions = {"GET": "rooms.read"}

    @extend_schema(
        operation_id="messages_search",
        description="The messages of one's rooms that match, best first.",
        parameters=[*PAGE_PARAMETERS, SearchInput],
        responses=SearchOutput,
        tags=["messages"],
    )
    async def get(self, request: Request) -> Response:
        named = {name: value for name, value in request.query_params.items() if name not in PAGING}
        given = SearchInput(data=named)
        given.is_valid(raise_exception=True)
        cursor = Cursor.of(request)
        asked = dict(given.validated_data)
        limit = min(cursor.limit, SEARCH_PAGE_MAX)
        found = await search_messages(
            member=principal_of(request),
            asked=Asked(words=asked.pop("q"), **asked),
            limit=limit + 1,
            after=cursor.after,
        )
        page = Cursor(limit=limit, after=None).page(found.hits, render=body, key=lambda hit: hit.place)
        return Response({**page.body(), "capped": found.capped})
