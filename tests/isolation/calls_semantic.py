"""Example calls of the semantic cache."""

import os
import uuid
from datetime import timedelta

from django.db import connection, transaction
from django.utils import timezone

from kernel.ids import uuid7
from providers.cache.models import CacheNamespace
from tests.isolation.calls import Call, Made
from tests.support.cast import Company

_INSERT = """
    INSERT INTO providers_semanticentry (id, tenant_id, scope, digest, exact_key, alias, membership_id, confirmed, shared,
        embedder, calibration, dimensions, embedding, answer_embedding, cluster, question, body, size, input_tokens,
        output_tokens, cost_nano, wrong, created_at, expires_at)
    VALUES (%s, %s, %s, %s, %s, 'echo', %s, false, false, 'fake', '', 3, '{1,0,0}', '{1,0,0}', %s, '', '', 1, 1, 1, 1, 0, %s, %s)
"""


def entry_of(company: Company) -> uuid.UUID:
    """An answer kept for the owner's question."""
    entry_id, now = uuid7(), timezone.now()
    member = company.owner.principal.membership_id
    secret = (os.urandom(32), os.urandom(16), os.urandom(32))
    with company.scope(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_INSERT, [entry_id, company.id, *secret, member, uuid7(), now, now + timedelta(hours=1)])
    return entry_id


def _turned_on(company: Company) -> Made:
    with company.scope(), transaction.atomic():
        CacheNamespace.objects.update_or_create(tenant_id=company.id, name="default", defaults={"semantic": True})
    return Made(body={"limit": 10})


CALLS = (
    Call("GET", "cache/semantic"),
    Call("GET", "cache/semantic/entries", lambda company: Made(listed=(entry_of(company),))),
    Call("GET", "cache/semantic/export", lambda company: Made(listed=(entry_of(company),))),
    Call("POST", "cache/semantic/warm-up", _turned_on),
    Call(
        "POST",
        "cache/entries/<uuid:entry_id>/wrong",
        lambda company: Made(ids={"entry_id": entry_of(company)}),
        status=204,
    ),
)
