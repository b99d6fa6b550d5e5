"""Migrated databases: the first of a run is migrated, the others are copies of it."""

import os
from collections.abc import Callable

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from config.bootstrap import prepare_database
from tests.support.servers import with_database

TEMPLATE = "test_parley_template"
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())
"""Whose template it is: another run's was perhaps made by other migrations."""
_LOCK = 0x7465_7374
_COMMENT = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"


def make_database(url: str, migrate: Callable[[], object] | None = None) -> None:
    """Make the database that the URL names: migrated, empty, and new if there was one.

    Without `migrate`, which migrates it and leaves no connection, another must have been made in this run.
    """
    name = str(conninfo_to_dict(url)["dbname"])
    with psycopg.connect(with_database(url, "postgres"), autocommit=True) as connection:
        # No two copy the template at once, which PostgreSQL refuses, or make it. The lock ends with the connection.
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        if connection.execute(_COMMENT, (TEMPLATE,)).fetchone() == (RUN,):
            _copy(connection, TEMPLATE, name)
            # The rights to a database are not copied with it.
            prepare_database(url)
            return
        assert migrate is not None, "no database of this run was migrated"
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        prepare_database(url)
        migrate()
        _copy(connection, name, TEMPLATE)
        connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(TEMPLATE), sql.Literal(RUN)))


def _copy(connection: psycopg.Connection[tuple[object, ...]], source: str, name: str) -> None:
    connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{source}"')
