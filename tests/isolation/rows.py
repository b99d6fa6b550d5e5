"""Rows for any table, made from the catalogue: columns, lengths, checks and foreign keys say what will do.

What can't be guessed (a form, a dependency between columns) is given in the app's `rows_<app>.py`, in
`ROWS: dict[table, dict[column, value or function of Making]]`. Where a nullable foreign key can only be set together with
other columns, `POINTING: dict[constraint, dict[column, value]]` says which.
"""

import importlib
import importlib.util
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import count
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from kernel.ids import uuid7
from tests.isolation.catalogue import tenant_tables
from tests.isolation.catalogue_schema import FOREIGN_KEYS
from tests.isolation.roles import Connection
from tests.isolation.rules import APPS, rules

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a row must fill, or may."""

    name: str
    kind: str
    length: int | None
    required: bool
    array: bool


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key of a table, columns in order."""

    name: str
    columns: tuple[str, ...]
    target: str
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Making:
    """What a row's values are made of: its tenant, a number that no other row has, and rows of other tables."""

    factory: "RowFactory"
    tenant_id: uuid.UUID
    number: int

    def row(self, table: str) -> Row:
        """The tenant's standing row of another table."""
        return self.factory.standing(table, self.tenant_id)


@dataclass(slots=True)
class RowFactory:
    """Makes rows as the administrator, whom no policy binds."""

    connection: Connection
    tenant_keys: Mapping[str, str] = field(init=False)
    _standing: dict[tuple[str, uuid.UUID], Row] = field(default_factory=dict)
    _columns: dict[str, list[Column]] = field(default_factory=dict)
    _choices: dict[str, dict[str, str]] = field(default_factory=dict)
    _foreign: dict[str, list[ForeignKey]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tenant_keys = tenant_tables(self.connection, rules())
        for name, child, parent, columns, targets, *_ in self.connection.execute(FOREIGN_KEYS):
            self._foreign.setdefault(str(child), []).append(
                ForeignKey(str(name), tuple(columns), str(parent), tuple(targets))  # type: ignore[arg-type]
            )

    def standing(self, table: str, tenant_id: uuid.UUID) -> Row:
        """The row that stands for a tenant in a table (for any tenant in a global one), inserted at first use."""
        if table not in self.tenant_keys:
            tenant_id = uuid.UUID(int=0)
        key = (table, tenant_id)
        if key not in self._standing:
            row = self.values(table, tenant_id)
            insert(self.connection, table, row)
            self._standing[key] = row
        return self._standing[key]

    def add_tenant(self) -> uuid.UUID:
        """A new tenant."""
        tenant_id = uuid7()
        row = self.values("tenants_tenant", tenant_id)
        insert(self.connection, "tenants_tenant", row)
        self._standing["tenants_tenant", tenant_id] = row
        return tenant_id

    def values(self, table: str, tenant_id: uuid.UUID) -> Row:
        """The values of a new row, not inserted."""
        making = Making(self, tenant_id, next(_numbers))
        given = overrides().get(table, {})
        row: Row = {}
        for column in self.columns(table):
            if column.name in given:
                value = given[column.name]
                row[column.name] = value(making) if callable(value) else value
            elif column.name == self.tenant_keys.get(table):
                row[column.name] = tenant_id
            elif column.required:
                row[column.name] = self._pointed(table, column, making) or self._guess(table, column, making)
        return row

    def columns(self, table: str) -> list[Column]:
        """The columns of a table that the database does not fill."""
        if table not in self._columns:
            found = self.connection.execute(
                """
                SELECT a.attname, coalesce(e.typname, t.typname), CASE WHEN a.atttypmod > 4 THEN a.atttypmod - 4 END,
                       a.attnotnull AND NOT a.atthasdef AND a.attidentity <> 'a', t.typelem <> 0 AND t.typcategory = 'A'
                FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
                WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
                ORDER BY a.attnum
                """,
                (table,),
            )
            self._columns[table] = [Column(*row) for row in found]  # type: ignore[arg-type]
        return self._columns[table]

    def foreign_keys(self, table: str) -> list[ForeignKey]:
        """All foreign keys of a table."""
        return self._foreign.get(table, [])

    def _pointed(self, table: str, column: Column, making: Making) -> Any:
        for key in self.foreign_keys(table):
            if column.name in key.columns:
                return making.row(key.target)[key.targets[key.columns.index(column.name)]]
        return None

    def _guess(self, table: str, column: Column, making: Making) -> Any:
        if column.array:
            return []
        if (choice := self._choice(table, column.name)) is not None:
            return choice
        if column.kind in ("varchar", "text", "bpchar"):
            return f"x{making.number}"[: column.length or 40]
        if column.kind in ("int2", "int4", "int8"):
            return making.number
        return _BY_KIND[column.kind]()

    def _choice(self, table: str, column: str) -> str | None:
        """The first of the values that a check allows a column, where it lists them."""
        if table not in self._choices:
            found = self.connection.execute(
                "SELECT a.attname, pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_attribute a "
                "ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1] "
                "WHERE k.contype = 'c' AND cardinality(k.conkey) = 1 AND k.conrelid = %s::regclass",
                (table,),
            )
            self._choices[table] = {
                str(name): listed[1]
                for name, text in found
                if (listed := re.search(r"ARRAY\[\(?'([^']*)'", str(text)) or re.search(r"= '([^']*)'", str(text)))
            }
        return self._choices[table].get(column)


def insert(connection: Connection, table: str, row: Row, *, suffix: str = "") -> int:
    """Insert one row; answers how many were inserted or, with an ON CONFLICT `suffix`, changed."""
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) " + suffix).format(  # type: ignore[arg-type]
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(sql.Placeholder() for _ in row),
    )
    values = [Jsonb(value) if isinstance(value, dict) else value for value in row.values()]
    return connection.execute(statement, values).rowcount


# Above the ids that migrations gave; within a smallint.
_numbers = count(1000)
_BY_KIND: dict[str, Callable[[], Any]] = {
    "uuid": uuid7,
    "bool": lambda: False,
    "numeric": lambda: 1,
    "float4": lambda: 1.0,
    "float8": lambda: 1.0,
    "bytea": lambda: uuid7().bytes * 2,
    "jsonb": dict,
    "json": dict,
    "timestamptz": lambda: datetime.now(tz=UTC),
    "date": date.today,
    "interval": lambda: timedelta(seconds=1),
    "inet": lambda: "192.0.2.1",
}


@cache
def overrides() -> Mapping[str, Mapping[str, Any]]:
    """All apps' `ROWS`."""
    return _gathered("ROWS")


@cache
def pointing() -> Mapping[str, Mapping[str, Any]]:
    """All apps' `POINTING`: what else a row needs for a foreign key (by its name) to be used."""
    return _gathered("POINTING")


def _gathered(attribute: str) -> dict[str, Mapping[str, Any]]:
    names = [f"tests.isolation.rows_{app}" for app in APPS]
    modules = [importlib.import_module(name) for name in names if importlib.util.find_spec(name)]
    return {name: value for module in modules for name, value in getattr(module, attribute, {}).items()}
