"""Routes of rooms, below /api/v1/."""

from django.urls import path

from chat.api import (
    attachments,
    downloads,
    feedback,
    history,
    messages,
    policies,
    presets,
    prompts,
    rooms,
    search,
    shares,
    transfers,
)
from chat.files.bounds import ATTACHMENT_BYTES_MAX, FORM_BYTES_MAX
from chat.imports.bounds import IMPORT_BYTES_MAX

urlpatterns = [
    path("rooms", rooms.RoomsView.as_view()),
    path("rooms/<uuid:room_id>", rooms.RoomView.as_view()),
    path("rooms/<uuid:room_id>/snapshot", rooms.SnapshotView.as_view()),
    path("rooms/<uuid:room_id>/messages", messages.MessagesView.as_view()),
    path("rooms/<uuid:room_id>/summaries", history.SummariesView.as_view()),
    path("rooms/<uuid:room_id>/branch", history.BranchView.as_view()),
    path("messages/<uuid:message_id>", history.MessageView.as_view()),
    path("messages/<uuid:message_id>/branches", history.BranchesView.as_view()),
    path("messages/<uuid:message_id>/reactions", history.ReactionsView.as_view()),
    path("messages/<uuid:message_id>/feedback", feedback.MessageFeedbackView.as_view()),
    path("feedback", feedback.FeedbackView.as_view()),
    path("messages/<uuid:message_id>/siblings", history.SiblingsView.as_view()),
    path("messages/<uuid:message_id>/generations", history.GenerationsView.as_view()),
    path("rooms/<uuid:room_id>/members", rooms.RoomMembersView.as_view()),
    path("rooms/<uuid:room_id>/members/<uuid:room_member_id>", rooms.RoomMemberView.as_view()),
    path("rooms/<uuid:room_id>/mine", rooms.OwnPlaceView.as_view()),
    path("rooms/<uuid:room_id>/shares", shares.SharesView.as_view()),
    path("rooms/<uuid:room_id>/shares/<uuid:share_id>", shares.ShareView.as_view()),
    path("shared/<str:token>", shares.SharedView.as_view()),
    path("presets", presets.PresetsView.as_view()),
    path("presets/<uuid:preset_id>", presets.PresetView.as_view()),
    path("prompts", prompts.PromptsView.as_view()),
    path("prompts/<uuid:prompt_id>", prompts.PromptView.as_view()),
    path("prompts/<uuid:prompt_id>/render", prompts.RenderView.as_view()),
    path("room-policy", policies.PolicyView.as_view()),
    path("messages/search", search.SearchView.as_view()),
    path("generations/<uuid:generation_id>", messages.GenerationView.as_view()),
    path("generations/<uuid:generation_id>/stop", messages.StopView.as_view()),
    path("generations/<uuid:generation_id>/regenerate", history.RegenerateView.as_view()),
    path("attachments", attachments.AttachmentsView.as_view()),
    path("attachments/<uuid:attachment_id>", attachments.AttachmentView.as_view()),
    path("attachments/<uuid:attachment_id>/link", attachments.AttachmentLinkView.as_view()),
    path("rooms/<uuid:room_id>/exports", transfers.RoomExportsView.as_view()),
    path("exports", transfers.ExportsView.as_view()),
    path("exports/<uuid:export_id>", transfers.ExportView.as_view()),
    path("exports/<uuid:export_id>/link", transfers.ExportLinkView.as_view()),
    path("imports", transfers.ImportsView.as_view()),
    path("imports/<uuid:import_id>", transfers.ImportView.as_view()),
    path("downloads/<str:token>", downloads.DownloadView.as_view()),
]

UPLOADS = {
    "/api/v1/attachments": ATTACHMENT_BYTES_MAX + FORM_BYTES_MAX,
    "/api/v1/imports": IMPORT_BYTES_MAX + FORM_BYTES_MAX,
}
"""Paths that take more than JSON, and how many bytes."""
