"""Notifications in the app: who gets one, and what becomes of it."""

import uuid

import msgspec
from django.db.models import Q, QuerySet
from django.utils import timezone

from kernel.errors import NotFound
from kernel.ids import uuid7
from kernel.outbox import Message
from tenants.models import Membership
from tenants.notifications.models import Notice, Notification
from tenants.permissions import BUILTIN_ROLES
from tenants.principals import Principal

BATCH = 500
COUNTED_MAX = 1_000


class NoticePayload(msgspec.Struct, frozen=True):
    """What the outbox says of a notice."""

    notice_id: uuid.UUID


def notice_of(message: Message) -> Notice | None:
    """The notice that a message is about; None when it was deleted since."""
    payload = msgspec.convert(message.payload, NoticePayload)
    return Notice.objects.filter(id=payload.notice_id).first()


def audience_of(notice: Notice) -> QuerySet[Membership]:
    """The active members whom a notice is for, with their people."""
    roles = [slug for slug, has in BUILTIN_ROLES.items() if notice.permission in has]
    return (
        Membership.objects.select_related("person")
        .filter(Q(role__in=roles) | Q(id__in=notice.memberships), status=Membership.Status.ACTIVE)
        .filter(person__is_active=True)
        .order_by("id")
    )


def put_into_inboxes(message: Message) -> None:
    """Consumer: give each member of the audience a notification."""
    notice = notice_of(message)
    if notice is None:
        return
    rows = [
        Notification(id=uuid7(), tenant_id=notice.tenant_id, notice=notice, membership_id=member)
        for member in audience_of(notice).values_list("id", flat=True)
    ]
    Notification.objects.bulk_create(rows, batch_size=BATCH, ignore_conflicts=True)


def notifications_of(*, caller: Principal, unread: bool = False) -> QuerySet[Notification]:
    """What the caller was told; with `unread` what they have not read."""
    found = Notification.objects.select_related("notice").filter(membership=caller.membership_id)
    return found.filter(read_at=None) if unread else found


def count_unread(*, caller: Principal) -> int:
    """How many the caller has not read; at most `COUNTED_MAX` are counted."""
    return notifications_of(caller=caller, unread=True)[:COUNTED_MAX].count()


def mark_read(*, caller: Principal, notification_id: uuid.UUID, read: bool) -> Notification:
    """Say that the caller has, or has not, read one of theirs. Raises `NotFound`."""
    found = notifications_of(caller=caller).select_for_update(of=("self",)).filter(id=notification_id).first()
    if found is None:
        raise NotFound
    if read != (found.read_at is not None):
        found.read_at = timezone.now() if read else None
        found.save(update_fields=["read_at"])
    return found


def mark_all_read(*, caller: Principal) -> int:
    """Say that the caller has read all of theirs. How many were not."""
    return notifications_of(caller=caller, unread=True).update(read_at=timezone.now())
