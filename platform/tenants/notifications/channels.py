"""Who gets a notice from the outbox, and what this app tells of."""

from kernel import outbox
from tenants.notifications.event_types import event_type
from tenants.notifications.inbox import put_into_inboxes
from tenants.notifications.notify import TOPIC


def register() -> None:
    """Name the consumers, and this app's event types."""
    event_type("webhook.test", "Sent when somebody asks for it, to see whether an endpoint is reached.")
    event_type("webhook.disabled", "An endpoint failed for so long that it gets no more events.")
    outbox.consumed_by(TOPIC, "inbox", put_into_inboxes)
