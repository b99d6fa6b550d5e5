"""PostgreSQL's catalogue, held against the rules. Each check yields a sentence per breach, naming the thing."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.isolation.roles import Connection
from tests.isolation.rules import APP_ROLE, NONE, OWNER_ROLE, Rules

ROW_VERBS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
_OURS = "n.nspname !~ '^(pg_|information_schema)'"


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `tenant_key` is the column that holds the tenant, None in a global one."""

    name: str
    partition: bool
    owner: str
    enabled: bool
    forced: bool
    tenant_key: str | None


def tables(connection: Connection, rules: Rules) -> list[Table]:
    """All tables, partitions too."""
    found = connection.execute(
        f"""
        SELECT CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || c.relname, c.relispartition,
               c.relowner::regrole::text, c.relrowsecurity, c.relforcerowsecurity,
               EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'
                       AND NOT a.attisdropped)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND {_OURS} ORDER BY 1
        """
    )
    return [
        Table(
            name=str(name),
            partition=bool(partition),
            owner=str(owner),
            enabled=bool(enabled),
            forced=bool(forced),
            tenant_key=rules.keyed_otherwise.get(str(name), "tenant_id" if tenant else None),
        )
        for name, partition, owner, enabled, forced, tenant in found
    ]


def tenant_tables(connection: Connection, rules: Rules) -> dict[str, str]:
    """Each tenant table and the column of its tenant; no partitions."""
    return {
        table.name: table.tenant_key
        for table in tables(connection, rules)
        if table.tenant_key and not table.partition and table.name not in rules.global_tables
    }


def check_tables(connection: Connection, rules: Rules) -> Iterator[str]:
    """Every table is a tenant's or listed, belongs to the owner, and has its security forced."""
    found = tables(connection, rules)
    for table in found:
        listed = table.name in rules.global_tables
        if table.owner != OWNER_ROLE:
            yield f"table {table.name} belongs to {table.owner}"
        if table.tenant_key is None and not listed and not table.partition:
            yield f"table {table.name} is neither a tenant's nor listed as global"
        if table.tenant_key and listed:
            yield f"table {table.name} is listed as global and has a tenant"
        if table.tenant_key and not table.enabled:
            yield f"table {table.name} has row-level security disabled"
        if table.tenant_key and not table.forced:
            yield f"table {table.name} does not force row-level security"
    for name in sorted({*rules.global_tables, *rules.keyed_otherwise} - {table.name for table in found}):
        yield f"table {name} is listed and does not exist"
    missing = connection.execute(
        """
        SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
        WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
          AND (NOT a.attnotnull OR a.atttypid <> 'uuid'::regtype)
        """
    )
    for (name,) in missing:
        yield f"table {name}: tenant_id is not a uuid that is never null"


def check_other_relations(connection: Connection, rules: Rules) -> Iterator[str]:
    """Views run as their caller; what has no row-level security isn't there at all."""
    others = connection.execute(
        f"""
        SELECT c.relname, c.relkind::text, c.relowner::regrole::text,
               coalesce('security_invoker=true' = ANY (c.reloptions), false)
               OR coalesce('security_invoker=on' = ANY (c.reloptions), false)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('v', 'm', 'f', 'S') AND {_OURS}
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                          AND d.deptype = 'e')
        """
    )
    for name, kind, owner, invoker in others:
        if owner != OWNER_ROLE:
            yield f"relation {name} belongs to {owner}"
        if kind == "v" and not invoker:
            yield f"view {name} is not security_invoker"
        if kind in ("m", "f"):
            yield f"{'materialized view' if kind == 'm' else 'foreign table'} {name} has no row-level security"
    rewritten = connection.execute(
        f"""
        SELECT c.relname, r.rulename FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE r.rulename <> '_RETURN' AND {_OURS}
        """
    )
    for table, name in rewritten:
        yield f"rule {name} on {table}"
    for (name,) in connection.execute("SELECT evtname FROM pg_event_trigger"):
        yield f"event trigger {name}"
    for (name,) in connection.execute("SELECT pubname FROM pg_publication"):
        yield f"publication {name} carries rows past row-level security"
    for (name,) in connection.execute("SELECT extname FROM pg_extension"):
        if name not in rules.extensions:
            yield f"extension {name} is not listed"


def check_policies(connection: Connection, rules: Rules) -> Iterator[str]:
    """Exactly one policy lets the app at a tenant's table, word for word; every other one is listed."""
    found = connection.execute(
        """
        SELECT tablename, policyname, cmd, permissive, array_to_string(roles, ','),
               regexp_replace(qual, E'\\\\s+', ' ', 'g'), regexp_replace(with_check, E'\\\\s+', ' ', 'g')
        FROM pg_policies ORDER BY 1, 2
        """
    ).fetchall()
    listed = {(p.table, p.name): p for p in rules.policies}
    own = tenant_tables(connection, rules)
    seen = set()
    for table, name, command, permissive, roles, using, check in found:
        key = (str(table), str(name))
        seen.add(key)
        if key[0] in own and name == "tenant_isolation":
            test = f"({own[key[0]]} = ( SELECT (current_setting('app.tenant_id'::text))::uuid AS current_setting))"
            if (command, permissive, roles, using, check) != ("ALL", "PERMISSIVE", APP_ROLE, test, test):
                yield f"policy tenant_isolation on {table} is not the one for tenants' tables"
        elif (wanted := listed.get(key)) is None:
            yield f"policy {name} on {table} is not listed"
        else:
            expected = (wanted.command, "PERMISSIVE", wanted.role, wanted.using, wanted.check)
            if (command, permissive, roles, _tidy(using), _tidy(check)) != expected:
                yield f"policy {name} on {table} is not as listed"
    for table in sorted(own):
        if (table, "tenant_isolation") not in seen:
            yield f"table {table} lacks its policy tenant_isolation"
    for table, name in sorted(set(listed) - seen):
        yield f"policy {name} on {table} is listed and does not exist"


def _tidy(text: object) -> str | None:
    return None if text is None else str(text).strip()


def check_grants(connection: Connection, rules: Rules) -> Iterator[str]:
    """Roles have what is listed and nothing else; partitions and sequences are nobody's but the owner's."""
    found: dict[tuple[str, str], set[str]] = {}
    for name, partition, kind, grantee, privilege, grantable in connection.execute(_GRANTS_SQL):
        label = f"{privilege} on {name} to {grantee}"
        if grantee == OWNER_ROLE:
            continue
        if grantable:
            yield f"grant {label} may be passed on"
        if partition:
            yield f"grant {label}: partitions are never granted"
        elif kind == "S":
            yield f"grant {label}: sequences are never granted"
        else:
            found.setdefault((str(name), str(grantee)), set()).add(str(privilege))
    own = tenant_tables(connection, rules)
    listed = {(grant.table, grant.role): grant.may for grant in rules.grants}
    listed |= {(name, APP_ROLE): table.app for name, table in rules.global_tables.items() if table.app}
    for (table, role), may in sorted(found.items()):
        wanted = listed.get((table, role), NONE)
        if role == APP_ROLE and table in own:
            wanted = frozenset(item for item in may if item.partition("(")[0] in ROW_VERBS)
        for privilege in sorted(may - wanted):
            yield f"grant {privilege} on {table} to {role} is not listed"
    for (table, role), may in sorted(listed.items()):
        for privilege in sorted(may - found.get((table, role), set())):
            yield f"grant {privilege} on {table} to {role} is listed and does not exist"


_GRANTS_SQL = f"""
    SELECT c.relname, c.relispartition, c.relkind::text, coalesce(r.rolname, 'PUBLIC'), x.privilege_type, x.is_grantable
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) x
    LEFT JOIN pg_roles r ON r.oid = x.grantee
    WHERE {_OURS} AND c.relkind <> 'i'
    UNION ALL
    SELECT c.relname, c.relispartition, c.relkind::text, coalesce(r.rolname, 'PUBLIC'),
           x.privilege_type || '(' || a.attname || ')', x.is_grantable
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
         aclexplode(a.attacl) x LEFT JOIN pg_roles r ON r.oid = x.grantee
    WHERE {_OURS} AND NOT a.attisdropped
"""
