"""When a key was last used: written at most once in `NOTE_EVERY_S` per key and process, so that use costs no writes."""

import time
import uuid
from collections import OrderedDict

import structlog
from django.db import DatabaseError, connection, transaction
from psycopg import Error

from kernel import adb
from kernel.errors import Unavailable
from kernel.tenancy import tenant_scope
from tenants.principals import Principal

log = structlog.get_logger(__name__)

NOTE_EVERY_S = 60.0
_MAX_KEYS = 10_000
_SQL = "UPDATE tenants_apikey SET last_used_at = now() WHERE id = %s"

_noted: "OrderedDict[uuid.UUID, float]" = OrderedDict()


def is_due(principal: Principal) -> bool:
    """Whether its use would be written down now."""
    key_id = principal.api_key_id
    return key_id is not None and time.monotonic() - _noted.get(key_id, -NOTE_EVERY_S) >= NOTE_EVERY_S


async def note_use(principal: Principal) -> None:
    """Note that a key was used. What can't be noted is logged: it never stands in a request's way."""
    key_id = _due(principal)
    if key_id is None:
        return
    try:
        async with adb.transaction(principal.tenant_id) as opened:
            await opened.execute(_SQL, (key_id,))
    except (Error, Unavailable):
        log.warning("key_use_not_noted", api_key_id=str(key_id))


def note_use_sync(principal: Principal) -> None:
    """The same, for threads."""
    key_id = _due(principal)
    if key_id is None:
        return
    try:
        with tenant_scope(principal.tenant_id), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_SQL, [key_id])
    except DatabaseError:
        log.warning("key_use_not_noted", api_key_id=str(key_id))


def _due(principal: Principal) -> uuid.UUID | None:
    """The key to write down, unless that was done a moment ago."""
    key_id = principal.api_key_id
    if key_id is None or not is_due(principal):
        return None
    _noted[key_id] = time.monotonic()
    _noted.move_to_end(key_id)
    while len(_noted) > _MAX_KEYS:
        _noted.popitem(last=False)
    return key_id
