"""What the catalogue must say: the exceptions, each app's in its own module `rules_<app>.py`, which names it `RULES`.

A tenant's table needs no entry: it is recognised by its column `tenant_id`, and held to the whole of the rules. An entry
is needed for every table that is *not* a tenant's, every policy and grant besides the tenant's own, every function, and
whatever departs from a rule, with the reason.
"""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from types import MappingProxyType

from config.databases import APP_ROLE, LOOKUP_ROLE, OWNER_ROLE, PLATFORM_ROLE

APPS = ("config", "kernel", "tenants", "billing", "providers", "chat")

NONE: frozenset[str] = frozenset()
IN_TENANT = "(tenant_id = ( SELECT (current_setting('app.tenant_id'::text))::uuid AS current_setting))"
"""The test of every tenant's policy, as PostgreSQL prints it."""


@dataclass(frozen=True, slots=True)
class Global:
    """A table of no tenant. `app` is what `parley_app` may do with it, a column's grant as `UPDATE(name)`."""

    reason: str
    app: frozenset[str] = NONE


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy besides `tenant_isolation`, word for word."""

    table: str
    name: str
    command: str
    role: str
    using: str | None = None
    check: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What a role besides `parley_app` may do with a table."""

    table: str
    role: str
    may: frozenset[str]


@dataclass(frozen=True, slots=True)
class Function:
    """A function, by its signature as PostgreSQL prints it, with schema. `definer` functions run as their owner."""

    signature: str
    reason: str
    definer: bool = True
    owner: str = LOOKUP_ROLE
    callers: frozenset[str] = frozenset({APP_ROLE})


@dataclass(frozen=True, slots=True)
class Rules:
    """One app's entries. The mappings go from the thing's name to the reason."""

    global_tables: Mapping[str, Global] = field(default_factory=dict)
    keyed_otherwise: Mapping[str, str] = field(default_factory=dict)
    """Tenant tables whose tenant stands in another column: table → column."""
    policies: tuple[Policy, ...] = ()
    grants: tuple[Grant, ...] = ()
    functions: tuple[Function, ...] = ()
    triggers: Mapping[str, str] = field(default_factory=dict)
    """`table.trigger`."""
    indexes: Mapping[str, str] = field(default_factory=dict)
    """Indexes and unique constraints of tenant tables that don't begin with the tenant."""
    pointers: Mapping[str, str] = field(default_factory=dict)
    """`table.column`: UUIDs named `…_id` in tenant tables that no foreign key guards."""
    extensions: Mapping[str, str] = field(default_factory=dict)


def jobs(job: str, tables: Mapping[str, str], *, within_tenant: bool) -> tuple[tuple[Policy, ...], tuple[Grant, ...]]:
    """The entries of `PlatformJob`s: table → its commands, separated by spaces."""
    test = IN_TENANT if within_tenant else "true"
    policies = tuple(
        Policy(
            table,
            f"{job}_{command.lower()}",
            command,
            PLATFORM_ROLE,
            None if command == "INSERT" else test,
            None if command in ("SELECT", "DELETE") else test,
        )
        for table, commands in tables.items()
        for command in commands.split()
    )
    return policies, tuple(Grant(table, PLATFORM_ROLE, frozenset(text.split())) for table, text in tables.items())


def lookups(tables: Mapping[str, str]) -> tuple[tuple[Policy, ...], tuple[Grant, ...]]:
    """The entries of `LookupReads`: table → the columns that definer functions read, separated by spaces."""
    policies = tuple(Policy(table, "lookup_reads", "SELECT", LOOKUP_ROLE, "true") for table in tables)
    return policies, tuple(
        Grant(table, LOOKUP_ROLE, frozenset(f"SELECT({column})" for column in columns.split()))
        for table, columns in tables.items()
    )


def gather(*parts: tuple[tuple[Policy, ...], tuple[Grant, ...]]) -> tuple[tuple[Policy, ...], tuple[Grant, ...]]:
    """Join what `jobs` and `lookups` answer; a role's grants on one table become one."""
    merged: dict[tuple[str, str], frozenset[str]] = {}
    for _, grants in parts:
        for grant in grants:
            key = (grant.table, grant.role)
            merged[key] = merged.get(key, NONE) | grant.may
    return (
        tuple(policy for policies, _ in parts for policy in policies),
        tuple(Grant(table, role, may) for (table, role), may in merged.items()),
    )


@cache
def rules() -> Rules:
    """All apps' entries."""
    found = [
        importlib.import_module(name).RULES
        for name in (f"tests.isolation.rules_{app}" for app in APPS)
        if importlib.util.find_spec(name)
    ]
    merged: dict[str, object] = {}
    for each in fields(Rules):
        values = [getattr(entry, each.name) for entry in found]
        if isinstance(values[0], tuple):
            merged[each.name] = tuple(item for value in values for item in value)
        else:
            merged[each.name] = MappingProxyType({name: item for value in values for name, item in value.items()})
    return Rules(**merged)  # type: ignore[arg-type]


ROLES = MappingProxyType(
    {
        # role: (login, inherit, bypassrls); none is superuser, makes roles or databases, or replicates
        APP_ROLE: (True, False, False),
        PLATFORM_ROLE: (True, False, False),
        OWNER_ROLE: (False, False, False),
        LOOKUP_ROLE: (False, False, False),
        "parley_backup": (False, False, True),
    }
)
MEMBER_OF = MappingProxyType({OWNER_ROLE: frozenset({APP_ROLE, LOOKUP_ROLE})})
"""Which role is a member of which; those not named are members of none."""
SCHEMAS = MappingProxyType(
    {
        "public": {OWNER_ROLE: "CU", APP_ROLE: "U", PLATFORM_ROLE: "U", LOOKUP_ROLE: "U", "parley_backup": "U"},
        # An owner of functions must be able to create where they live; nobody logs in as this one.
        "lookup": {OWNER_ROLE: "CU", APP_ROLE: "U", PLATFORM_ROLE: "U", LOOKUP_ROLE: "CU", "parley_backup": "U"},
    }
)
