"""The app `chat`, as Django knows it."""

from django.apps import AppConfig

from kernel import outbox, quota


class ChatConfig(AppConfig):
    """See the package's docstring."""

    name = "chat"

    def ready(self) -> None:
        """Have files count against their tenant's quota; name who follows when messages are deleted, answers disliked,
        members removed, and budgets used."""
        from chat.alerted import note_budget_alert
        from chat.disliked import forget_answer
        from chat.erased import forget_elsewhere
        from chat.services.erasure import TOPIC
        from chat.services.feedback import DISLIKED
        from chat.succession import pass_library_on, pass_rooms_on
        from tenants.notifications.notify import TOPIC as NOTICE
        from tenants.services.members import REMOVED

        quota.counted("chat_attachment")
        quota.counted("chat_transfer")
        outbox.consumed_by(TOPIC, "chat.elsewhere", forget_elsewhere)
        outbox.consumed_by(REMOVED, "chat.rooms", pass_rooms_on)
        outbox.consumed_by(REMOVED, "chat.library", pass_library_on)
        outbox.consumed_by(DISLIKED, "semantic_cache", forget_answer)
        outbox.consumed_by(NOTICE, "chat.notes", note_budget_alert)
