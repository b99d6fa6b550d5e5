"""Example calls of models, and of what a tenant says and sees of its requests."""

from datetime import UTC, datetime

from django.db import transaction

from kernel.ids import uuid7
from providers.models import RequestLog
from tests.isolation.calls import Call, Made
from tests.support.cast import Company


def _refused(company: Company) -> Made:
    request_id = uuid7()
    with company.scope(), transaction.atomic():
        RequestLog.objects.create(
            id=request_id,
            tenant_id=company.id,
            at=datetime.now(UTC),
            surface="openai.chat",
            alias="m",
            principal_kind="member",
            membership_id=company.owner.membership_id,
            status=429,
            error_code="rate_limited",
            latency_ms=1,
        )
    return Made(ids={"request_id": request_id}, listed=(request_id,))


CALLS = (
    Call("GET", "models"),
    Call("GET", "guardrails"),
    Call(
        "PATCH",
        "guardrails",
        lambda company: Made(body={"deny": [{"name": "code name", "expression": "(?i)bluebird"}], "mask_cards": True}),
    ),
    Call("GET", "requests", _refused),
    Call("GET", "requests/<uuid:request_id>", _refused),
)
