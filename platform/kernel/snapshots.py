"""Reading much of one moment: a read-only transaction of its own connection, in which nothing that others do is seen.

Django's connections begin transactions with the tenant's settings, which is a statement, and after a statement PostgreSQL
doesn't change a transaction's isolation any more. And they have no server-side cursors, so that PgBouncer can share them.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections
from psycopg import Connection, IsolationLevel, connect
from psycopg.rows import DictRow, dict_row

from kernel.tenancy import Scope, settings_sql

Snapshot = Connection[DictRow]

_DJANGOS_OWN = ("context", "cursor_factory", "prepare_threshold", "pool", "autocommit")


@contextmanager
def snapshot_of(tenant_id: uuid.UUID, *, alias: str = "default") -> Iterator[Snapshot]:
    """A connection that sees a tenant's rows as they are now for as long as the block lasts. Rows come as dicts; a cursor
    with a name is the server's."""
    parameters: dict[str, Any] = connections[alias].get_connection_params()
    for name in _DJANGOS_OWN:
        parameters.pop(name, None)
    with connect(**parameters, row_factory=dict_row) as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        connection.execute(settings_sql(Scope(tenant_id=tenant_id)))
        yield connection
