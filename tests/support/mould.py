"""Companies by the mould: the services make the first of a process, the others get copies of its rows.

Some thousand tests have a company of their own. What the services do for it in 35 statements, which each check something, is one
here. The rows are those of all tables that hold something of the first company, so they are what the services write today.
"""

import copy
import json
import re
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from django.db import connections, transaction
from django.utils import timezone
from psycopg import sql
from psycopg.types.json import Jsonb

from kernel.ids import uuid7
from kernel.tenancy import tenant_scope
from tenants.keys import make_key
from tenants.models import Tenant

PLATFORM = "platform"
TENANTS, MEMBERSHIPS, KEYS = "tenants_tenant", "tenants_membership", "tenants_apikey"
OF_PEOPLE = {"tenants_person": "id", "tenants_credential": "person_id"}
"""Tables that are no tenant's, and their column with the person's id."""
_OF_TENANTS = """
    SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE a.attname = 'tenant_id' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace
"""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00")

Rows = dict[str, list[dict[str, Any]]]
"""Rows by their table, as JSON."""


@dataclass(frozen=True)
class Copied:
    """A company made by the mould: its tenant, its owner's key, and its people and their memberships by their roles."""

    tenant: Tenant
    api_key: str
    people: dict[str, uuid.UUID]
    memberships: dict[str, uuid.UUID]


class Mould:
    """A company that the services have made, to be copied under other names."""

    def __init__(self, admin_url: str, tenant: Tenant) -> None:
        self._tenant = tenant
        self.rows = rows_of(admin_url, tenant.id)
        self._text = json.dumps(self.rows)
        self._ids = sorted(row["id"] for rows in self.rows.values() for row in rows if "id" in row)
        self._times = sorted(set(_TIME.findall(self._text)))
        insert = sql.SQL("{0} AS (INSERT INTO {1} SELECT * FROM jsonb_populate_recordset(NULL::{1}, %s))")
        parts = [insert.format(sql.Identifier(f"in_{table}"), sql.Identifier(table)) for table in self.rows]
        self._insert = sql.SQL("WITH {} SELECT").format(sql.SQL(", ").join(parts))

    def copy(self, slug: str) -> Copied:
        """A company of that name."""
        text = self._text.replace(self._tenant.slug, slug)
        # Ids and times are in the same order as those of the first.
        for known in self._ids:
            text = text.replace(known, str(uuid7()))
        now = timezone.now()
        for count, time in enumerate(self._times):
            text = text.replace(time, (now + timedelta(microseconds=count)).isoformat())
        rows: Rows = json.loads(text)
        key = make_key()
        (key_row,) = rows[KEYS]
        key_row |= {"lookup_id": key.lookup_id, "digest": f"\\x{key.digest.hex()}", "hint": key.hint}
        tenant = self._named(rows[TENANTS][0])
        with tenant_scope(tenant.id), transaction.atomic(using=PLATFORM), connections[PLATFORM].cursor() as cursor:
            cursor.execute(self._insert, [Jsonb(rows[table]) for table in self.rows])
        members = rows[MEMBERSHIPS]
        return Copied(
            tenant=tenant,
            api_key=key.text,
            people={row["role"]: uuid.UUID(row["person_id"]) for row in members},
            memberships={row["role"]: uuid.UUID(row["id"]) for row in members},
        )

    def _named(self, row: dict[str, Any]) -> Tenant:
        tenant = copy.copy(self._tenant)
        tenant.id, tenant.slug, tenant.name = uuid.UUID(row["id"]), row["slug"], row["name"]
        tenant.created_at = datetime.fromisoformat(row["created_at"])
        return tenant


def rows_of(admin_url: str, tenant_id: uuid.UUID) -> Rows:
    """All rows of a tenant and its people, in the order in which they were made; `admin_url` is the superuser's."""
    select = sql.SQL("SELECT {0}, to_jsonb(x) FROM {1} x WHERE {2} = ANY(%s)")
    with psycopg.connect(admin_url, options="-c TimeZone=UTC") as connection:

        def select_from(tables: dict[str, str], ids: list[uuid.UUID]) -> Rows:
            parts = [
                select.format(sql.Literal(table), sql.Identifier(table), sql.Identifier(column))
                for table, column in tables.items()
            ]
            found: Rows = {}
            for table, row in connection.execute(sql.SQL(" UNION ALL ").join(parts), [ids] * len(parts)):
                found.setdefault(table, []).append(row)
            return found

        of_tenants = dict.fromkeys((table for (table,) in connection.execute(_OF_TENANTS)), "tenant_id")
        rows = select_from(of_tenants | {TENANTS: "id"}, [tenant_id])
        people = [uuid.UUID(row["person_id"]) for row in rows[MEMBERSHIPS]]
        return rows | select_from(OF_PEOPLE, people)
