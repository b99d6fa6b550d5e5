"""Telling people that little is left of what may be used: once when it falls below the mark, and again only after it was above.

The mark is set whenever credit is added (`billing.services.funds`). It is looked at when usage was added to the rollups, within
seconds, and when credit has expired."""

import uuid

import structlog
from django.db import DatabaseError, transaction
from django.utils import timezone

from billing.models import Funds
from billing.services.alerting import amount_text
from billing.services.funds import standing
from kernel.errors import ParleyError
from kernel.tenancy import tenant_scope
from tenants.notifications import Audience, notify

log = structlog.get_logger(__name__)

LOW = "credit.low"
LINK = "/console/billing"


def watch_credit(tenant_id: uuid.UUID) -> None:
    """Look at a tenant's credit, in a transaction of its own. What fails is logged, and looked at the next time."""
    try:
        with tenant_scope(tenant_id), transaction.atomic():
            tell_if_low()
    except (ParleyError, DatabaseError):
        log.exception("credit_not_watched", tenant=str(tenant_id))


def tell_if_low() -> bool:
    """Tell those who look after the plan of the tenant in scope, if its credit limits it and has become low. Whether it was
    told now."""
    funds = Funds.objects.filter(low_at_nano__gt=0).first()
    now = standing() if funds is not None else None
    if funds is None or now is None or not now.is_limit:
        return False
    if now.left_nano >= funds.low_at_nano:
        Funds.objects.filter(id=funds.id, low_told_at__isnull=False).update(low_told_at=None)
        return False
    told_at = timezone.now()
    if not Funds.objects.filter(id=funds.id, low_told_at=None).update(low_told_at=told_at):
        return False
    left = max(0, now.left_nano)
    notify(
        tenant_id=funds.tenant_id,
        topic=LOW,
        once_key=f"{LOW} {told_at.isoformat()}",
        audience=Audience(permission="billing.manage"),
        subject="Little credit is left" if left else "The credit is used up",
        text=f"{amount_text('nano', left)} are left. When all is used, requests for the platform's models are refused.",
        link=LINK,
        data={"left_nano": left, "low_at_nano": funds.low_at_nano},
    )
    return True
