"""Routes of identity, below /api/v1/."""

from django.urls import path

from tenants.api import auth_views, group_views, notification_views, views, webhook_views

urlpatterns = [
    path("auth/login", auth_views.LoginView.as_view()),
    path("auth/refresh", auth_views.RefreshView.as_view()),
    path("auth/logout", auth_views.LogoutView.as_view()),
    path("auth/switch", auth_views.SwitchView.as_view()),
    path("auth/ws-ticket", auth_views.TicketView.as_view()),
    path("me", views.MeView.as_view()),
    path("members", views.MembersView.as_view()),
    path("members/<uuid:member_id>", views.MemberView.as_view()),
    path("groups", group_views.GroupsView.as_view()),
    path("groups/<uuid:group_id>", group_views.GroupView.as_view()),
    path("groups/<uuid:group_id>/members", group_views.GroupMembersView.as_view()),
    path("groups/<uuid:group_id>/members/<uuid:member_id>", group_views.GroupMemberView.as_view()),
    path("notifications", notification_views.NotificationsView.as_view()),
    path("notifications/unread", notification_views.UnreadView.as_view()),
    path("notifications/read", notification_views.AllReadView.as_view()),
    path("notifications/<uuid:notification_id>", notification_views.NotificationView.as_view()),
    path("webhooks", webhook_views.WebhooksView.as_view()),
    path("webhooks/event-types", webhook_views.EventTypesView.as_view()),
    path("webhooks/<uuid:webhook_id>", webhook_views.WebhookView.as_view()),
    path("webhooks/<uuid:webhook_id>/rotate-secret", webhook_views.RotateSecretView.as_view()),
    path("webhooks/<uuid:webhook_id>/test", webhook_views.TestView.as_view()),
    path("webhooks/<uuid:webhook_id>/deliveries", webhook_views.DeliveriesView.as_view()),
    path("webhooks/<uuid:webhook_id>/deliveries/<uuid:delivery_id>", webhook_views.DeliveryView.as_view()),
    path("webhooks/<uuid:webhook_id>/deliveries/<uuid:delivery_id>/replay", webhook_views.ReplayView.as_view()),
    path("roles", views.RolesView.as_view()),
    path("api-keys", views.ApiKeysView.as_view()),
    path("api-keys/<uuid:key_id>", views.ApiKeyView.as_view()),
    path("api-keys/<uuid:key_id>/rotate", views.RotateApiKeyView.as_view()),
]
