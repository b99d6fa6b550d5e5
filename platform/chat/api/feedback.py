"""What members think of answers."""

import uuid
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from chat.api.base import RoomsAPIView
from chat.bounds import ALIAS_CHARS_MAX, FEEDBACK_COMMENT_CHARS_MAX
from chat.models import Feedback
from chat.services.feedback import give_feedback, list_feedback, take_feedback_back
from chat.shapes import body
from kernel.api.pagination import Cursor
from kernel.api.schema import PAGE_PARAMETERS
from kernel.api.serializers import StrictSerializer, page_of
from kernel.errors import InvalidRequest
from kernel.loop import on_loop
from tenants.api.base import principal_of

RATINGS = list(Feedback.Rating.values)


class FeedbackInput(StrictSerializer):
    """What one thinks of an answer."""

    rating = serializers.ChoiceField(RATINGS)
    comment = serializers.CharField(
        max_length=FEEDBACK_COMMENT_CHARS_MAX, required=False, allow_blank=True, default="", trim_whitespace=False
    )


class FeedbackOutput(serializers.Serializer[Any]):
    """What somebody thinks of an answer."""

    id = serializers.UUIDField()
    message = serializers.UUIDField()
    room = serializers.UUIDField()
    member = serializers.UUIDField(help_text="The membership.")
    model = serializers.CharField(help_text="That answered.")
    rating = serializers.ChoiceField(RATINGS)
    comment = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class MessageFeedbackView(RoomsAPIView):
    """What the caller thinks of an answer."""

    permissions = {"PUT": "rooms.read", "DELETE": "rooms.read"}

    @extend_schema(
        operation_id="messages_feedback_give",
        description="Says what one thinks of an answer, in place of what one said before. Tenant admins can list it.",
        request=FeedbackInput,
        responses=FeedbackOutput,
        tags=["messages"],
    )
    async def put(self, request: Request, message_id: uuid.UUID) -> Response:
        given = FeedbackInput(data=request.data)
        given.is_valid(raise_exception=True)
        thought = await give_feedback(member=principal_of(request), message_id=message_id, **given.validated_data)
        return Response(body(thought))

    @extend_schema(operation_id="messages_feedback_take_back", responses={204: None}, tags=["messages"])
    async def delete(self, request: Request, message_id: uuid.UUID) -> Response:
        await take_feedback_back(member=principal_of(request), message_id=message_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class FeedbackView(RoomsAPIView):
    """What members of the tenant think of answers."""

    permissions = {"GET": "feedback.read"}

    @extend_schema(
        operation_id="feedback_list",
        description="Newest first. Tells nothing of what was said in rooms but the comments.",
        parameters=[
            *PAGE_PARAMETERS,
            OpenApiParameter("rating", OpenApiTypes.STR, enum=RATINGS),
            OpenApiParameter("model", OpenApiTypes.STR, description="An alias."),
        ],
        responses=page_of(FeedbackOutput(many=True), "FeedbackPage"),
        tags=["messages"],
    )
    def get(self, request: Request) -> Response:
        rating, model = request.query_params.get("rating"), request.query_params.get("model")
        if rating is not None and rating not in RATINGS:
            raise InvalidRequest("rating: this is `up` or `down`.", details={"param": "rating"})
        if model is not None and ("\x00" in model or len(model) > ALIAS_CHARS_MAX):
            raise InvalidRequest("model: this is no alias.", details={"param": "model"})
        asked = Cursor.of(request)
        found = on_loop(
            list_feedback(
                caller=principal_of(request), before=asked.uuid(), limit=asked.limit + 1, rating=rating, model=model
            )
        )
        return Response(asked.page(found, render=body, key=lambda thought: str(thought.id)).body())
