"""The app `chat`, as Django knows it."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    """See the package's docstring."""

    name = "chat"

    def ready(self) -> None:
        """Let rooms be answered by the completion pipeline, and let go of them when the process ends."""
        # Imported here: these need the models of all apps.
        from chat import answering, lifecycle
        from chat.completions import PipelineAnswering
        from kernel.lifecycle import on_drain

        answering.bind(PipelineAnswering())
        on_drain(lifecycle.drain)
