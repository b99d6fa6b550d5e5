"""Example calls of limits."""

import secrets
import uuid

from django.db import transaction

from providers.models import RateLimit
from tests.isolation.calls import Call, Made
from tests.support.cast import Company


def _limit(company: Company) -> uuid.UUID:
    """A limit of one model of the company's."""
    with company.scope(), transaction.atomic():
        made = RateLimit.objects.create(
            tenant_id=company.id, subject="model", model=f"m-{secrets.token_hex(4)}", requests_per_minute=100
        )
    return made.id


def _new_limit(company: Company) -> Made:
    return Made(body={"subject": "model", "model": f"m-{secrets.token_hex(4)}", "requests_per_minute": 100})


LIMIT_CALLS = (
    Call("GET", "limits", lambda company: Made(listed=(_limit(company),))),
    Call("POST", "limits", _new_limit, status=201),
    Call("GET", "limits/<uuid:limit_id>", lambda company: Made(ids={"limit_id": _limit(company)})),
    Call(
        "PATCH",
        "limits/<uuid:limit_id>",
        lambda company: Made(ids={"limit_id": _limit(company)}, body={"tokens_per_minute": 5}),
    ),
    Call("DELETE", "limits/<uuid:limit_id>", lambda company: Made(ids={"limit_id": _limit(company)}), status=204),
)
