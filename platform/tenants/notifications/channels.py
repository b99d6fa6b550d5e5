"""Who gets a notice from the outbox, and what this app tells of."""

from kernel import outbox
from tenants.notifications import mail
from tenants.notifications.event_types import event_type
from tenants.notifications.inbox import put_into_inboxes
from tenants.notifications.notify import TOPIC
from tenants.webhooks import deliver, fan_out


def register() -> None:
    """Name the consumers, and this app's event types."""
    event_type("webhook.test", "Sent when somebody asks for it, to see whether an endpoint is reached.")
    event_type("webhook.disabled", "An endpoint failed for so long that it gets no more events.")
    outbox.consumed_by(TOPIC, "inbox", put_into_inboxes)
    outbox.consumed_by(TOPIC, "mail", mail.mail_notice)
    outbox.sent_by(
        mail.TOPIC, mail.send_mail, schedule=mail.SCHEDULE, at_once=mail.AT_ONCE, at_once_of_tenant=mail.AT_ONCE
    )
    outbox.consumed_by(TOPIC, "webhooks", fan_out.fan_out)
    outbox.sent_by(
        fan_out.TOPIC,
        deliver.deliver,
        schedule=deliver.SCHEDULE,
        at_once=deliver.AT_ONCE,
        at_once_of_tenant=deliver.AT_ONCE_OF_TENANT,
    )
    outbox.consumed_by(deliver.DISABLED_TOPIC, "tell", deliver.tell_disabled)
