"""Routes of rooms, below /api/v1/."""

from django.urls import path

from chat.api import messages, rooms

urlpatterns = [
    path("rooms", rooms.RoomsView.as_view()),
    path("rooms/<uuid:room_id>", rooms.RoomView.as_view()),
    path("rooms/<uuid:room_id>/snapshot", rooms.SnapshotView.as_view()),
    path("rooms/<uuid:room_id>/messages", messages.MessagesView.as_view()),
    path("rooms/<uuid:room_id>/members", rooms.RoomMembersView.as_view()),
    path("rooms/<uuid:room_id>/members/<uuid:room_member_id>", rooms.RoomMemberView.as_view()),
    path("generations/<uuid:generation_id>", messages.GenerationView.as_view()),
    path("generations/<uuid:generation_id>/stop", messages.StopView.as_view()),
]
