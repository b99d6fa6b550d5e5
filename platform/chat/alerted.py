"""Consumer of `tenants.notice`: whoever is told of a budget is told on the socket too."""

import uuid
from collections.abc import Iterable

from billing.services.alerting import REFUSED, THRESHOLD_REACHED
from chat.note_bodies import BudgetAlert
from chat.services.notes import tell_notes, write_notes
from chat.store import transaction
from kernel.loop import on_loop
from kernel.outbox import Message
from tenants.notifications.inbox import audience_of, notice_of
from tenants.notifications.models import Notice


def note_budget_alert(message: Message) -> None:
    """Done again, it notes nothing more."""
    notice = notice_of(message)
    if notice is not None and notice.topic in (THRESHOLD_REACHED, REFUSED):
        on_loop(_note(notice, list(audience_of(notice).values_list("id", flat=True))))


async def _note(notice: Notice, members: Iterable[uuid.UUID]) -> None:
    """`percent` of the budget is used; null where a request was refused."""
    told = BudgetAlert(
        budget=uuid.UUID(notice.data["budget_id"]),
        alert=uuid.UUID(notice.data["alert_id"]),
        percent=notice.data["percent"],
    )
    async with transaction(notice.tenant_id) as connection:
        noted = await write_notes(
            connection,
            tenant_id=notice.tenant_id,
            bodies=dict.fromkeys(members, told),
            once_for=notice.id,
        )
    await tell_notes(noted)
