"""Django's PostgreSQL backend, with the tenant written into every transaction.

psycopg stays in autocommit; entering an atomic block sends `BEGIN` and the scope's settings as one message, so a tenant
costs no round trip. The settings are local to the transaction: a pooled connection, or PgBouncer in transaction mode,
can't carry a tenant from one request to the next. When the scope changes inside a transaction (a nested block for another
tenant, a test's outer transaction), the settings are written again before the next statement, and again when the scope is
left. A query outside a transaction has no tenant, and the policies make it raise.
"""

from collections.abc import Callable
from typing import Any

from django.db.backends.postgresql import base
from psycopg.pq import TransactionStatus

from kernel.tenancy import Scope, current_scope, settings_sql


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that knows which scope its transaction was last told of."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._applied: Scope | None = None
        self.execute_wrappers.append(self._keep_scope)

    def _set_autocommit(self, autocommit: bool) -> None:
        if autocommit:
            self._applied = None
            if not self.connection.autocommit:
                with self.wrap_database_errors:
                    self.connection.autocommit = True
            return
        scope = current_scope()
        with self.wrap_database_errors:
            self.connection.execute(f"BEGIN; {settings_sql(scope)}")
        self._applied = scope

    def _savepoint_rollback(self, sid: str) -> None:
        super()._savepoint_rollback(sid)  # type: ignore[misc]
        # Settings written since the savepoint are undone with it.
        self._applied = None

    def _keep_scope(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        if self.in_atomic_block and not self.needs_rollback:
            scope = current_scope()
            if scope != self._applied and self._in_good_transaction():
                with self.wrap_database_errors:
                    self.connection.execute(settings_sql(scope))
                self._applied = scope
        return execute(sql, params, many, context)

    def _in_good_transaction(self) -> bool:
        return bool(self.connection.info.transaction_status == TransactionStatus.INTRANS)
