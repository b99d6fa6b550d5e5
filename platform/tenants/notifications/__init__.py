"""Telling people, and programs, what happened: in the app, by e-mail, and by webhooks.

`notify` writes one *notice* and an outbox message, in the caller's transaction. Once that has committed, the message's
consumers fan the notice out, each once: `inbox` gives a *notification* to every member of the audience, `mail` sends each of
them an e-mail where the operator set a mail server, `webhooks` hands it to the tenant's endpoints for its event type.

Other apps name their event types in `AppConfig.ready` (`event_type`).
"""

from tenants.notifications.event_types import event_type
from tenants.notifications.notify import Attachment, Audience, notify

__all__ = ["Attachment", "Audience", "event_type", "notify"]
