"""Example calls of what people are told."""

import secrets
import uuid

from django.db import transaction

from kernel.ids import uuid7
from tenants.notifications.models import Notice, Notification
from tests.isolation.calls import Call, Made
from tests.support.cast import Company


def _notification(company: Company) -> uuid.UUID:
    """Something that the owner was told."""
    with company.scope(), transaction.atomic():
        notice = Notice.objects.create(
            id=uuid7(),
            tenant_id=company.id,
            topic="webhook.test",
            once_key=secrets.token_hex(8),
            subject="A subject",
            text="A text.",
        )
        return Notification.objects.create(
            tenant_id=company.id, notice=notice, membership_id=company.owner.membership_id
        ).id


CALLS = (
    Call("GET", "notifications", lambda company: Made(listed=(_notification(company),))),
    Call("GET", "notifications/unread"),
    Call("POST", "notifications/read"),
    Call(
        "PATCH",
        "notifications/<uuid:notification_id>",
        lambda company: Made(ids={"notification_id": _notification(company)}, body={"read": True}),
        private=True,
    ),
)
