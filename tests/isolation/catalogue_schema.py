"""The catalogue, second part: keys, indexes, functions, triggers, roles and schemas."""

from collections.abc import Callable, Iterator

from tests.isolation.catalogue import (
    check_grants,
    check_other_relations,
    check_policies,
    check_tables,
    tenant_tables,
)
from tests.isolation.roles import Connection
from tests.isolation.rules import APP_ROLE, MEMBER_OF, NONE, OWNER_ROLE, PLATFORM_ROLE, ROLES, SCHEMAS, Rules

SEARCH_PATH = "search_path=pg_catalog, pg_temp"

FOREIGN_KEYS = """
    SELECT k.conname, k.conrelid::regclass::text, k.confrelid::regclass::text,
           ARRAY (SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, o)
                  JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.o),
           ARRAY (SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, o)
                  JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.o),
           k.confdeltype::text,
           ARRAY (SELECT a.attname::text FROM unnest(k.confdelsetcols) u(n)
                  JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n),
           k.confupdtype::text
    FROM pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY 2, 1
"""


def check_foreign_keys(connection: Connection, rules: Rules) -> Iterator[str]:
    """Between tenants' tables they carry the tenant; global rows never point to a tenant's."""
    own = tenant_tables(connection, rules)
    guarded: set[tuple[str, str]] = set()
    for name, child, parent, columns, targets, on_delete, cleared, on_update in connection.execute(FOREIGN_KEYS):
        table, target = str(child), str(parent)
        guarded |= {(table, column) for column in _texts(columns)}
        if on_update != "a":
            yield f"foreign key {name} on {table} changes keys"
        if target not in own or target == "tenants_tenant":
            continue
        if table not in own:
            yield f"foreign key {name}: the global table {table} points to the tenants' {target}"
        elif (own[table], own[target]) not in set(zip(_texts(columns), _texts(targets), strict=True)):
            yield f"foreign key {name} from {table} to {target} does not carry the tenant"
        if on_delete in ("n", "d") and (not _texts(cleared) or "tenant_id" in _texts(cleared)):
            yield f"foreign key {name} on {table} clears the tenant when its target goes"
    columns_sql = """
        SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace AND NOT a.attisdropped
          AND a.attname ~ '_id$'
    """
    for table_name, column in connection.execute(columns_sql):
        key = (str(table_name), str(column))
        if key[0] in own and key not in guarded and ".".join(key) not in rules.pointers:
            yield f"column {'.'.join(key)} points somewhere without a foreign key, and is not listed"


def _texts(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(item) for item in value]


def check_indexes(connection: Connection, rules: Rules) -> Iterator[str]:
    """Indexes, and so unique constraints, of tenants' tables begin with the tenant. A primary key on the random `id` alone
    is let be: the ids are made here, so nobody learns anything by choosing one.
    """
    own = tenant_tables(connection, rules)
    found = connection.execute(
        """
        SELECT t.relname, i.relname, x.indisprimary, pg_get_indexdef(x.indexrelid, 1, true), x.indnkeyatts
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
        WHERE t.relnamespace = 'public'::regnamespace AND NOT t.relispartition
        """
    )
    seen = set()
    for table, index, primary, first, width in found:
        seen.add(str(index))
        if str(table) not in own or first == own[str(table)] or (primary and first == "id" and width == 1):
            continue
        if str(index) not in rules.indexes:
            yield f"index {index} on {table} does not begin with the tenant"
    for name in sorted(set(rules.indexes) - seen):
        yield f"index {name} is listed and does not exist"


def check_functions(connection: Connection, rules: Rules) -> Iterator[str]:
    """Exactly the listed functions, with their owner, their search path and their callers."""
    found = connection.execute(
        """
        SELECT n.nspname || '.' || p.proname || '(' || replace(pg_get_function_identity_arguments(p.oid), ', ', ',') || ')',
               n.nspname || '.' || p.proname || '(' || array_to_string(ARRAY (
                   SELECT format_type(u.t, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY u(t, o) ORDER BY u.o), ',')
               || ')',
               p.proowner::regrole::text, p.prosecdef, coalesce(p.proconfig, '{}'),
               ARRAY (SELECT coalesce(r.rolname, 'PUBLIC')::text || CASE WHEN x.is_grantable THEN '*' ELSE '' END
                      FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
                      LEFT JOIN pg_roles r ON r.oid = x.grantee WHERE x.grantee <> p.proowner)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname !~ '^(pg_|information_schema)'
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                          AND d.deptype = 'e')
        """
    )
    listed = {function.signature: function for function in rules.functions}
    seen = set()
    for _, signature, owner, definer, settings, callers in found:
        name = str(signature)
        seen.add(name)
        wanted = listed.get(name)
        if wanted is None:
            yield f"function {name} is not listed"
            continue
        if owner != wanted.owner:
            yield f"function {name} belongs to {owner}"
        if definer is not wanted.definer:
            yield f"function {name} is {'' if definer else 'not '}SECURITY DEFINER"
        if SEARCH_PATH not in (settings or ()):
            yield f"function {name} does not set its search path"
        if set(_texts(callers)) != wanted.callers:
            yield f"function {name} may be executed by {', '.join(sorted(_texts(callers))) or 'nobody'}"
    for name in sorted(set(listed) - seen):
        yield f"function {name} is listed and does not exist"


def check_triggers(connection: Connection, rules: Rules) -> Iterator[str]:
    """Exactly the listed triggers, all enabled."""
    found = connection.execute(
        """
        SELECT g.tgrelid::regclass::text || '.' || g.tgname, g.tgenabled::text FROM pg_trigger g
        JOIN pg_class c ON c.oid = g.tgrelid WHERE NOT g.tgisinternal AND NOT c.relispartition
        """
    )
    seen = set()
    for name, enabled in found:
        seen.add(str(name))
        if str(name) not in rules.triggers:
            yield f"trigger {name} is not listed"
        elif enabled != "O":
            yield f"trigger {name} is disabled"
    for name in sorted(set(rules.triggers) - seen):
        yield f"trigger {name} is listed and does not exist"


def check_roles(connection: Connection, rules: Rules) -> Iterator[str]:
    """The five roles have exactly their attributes and memberships."""
    found = {
        str(row[0]): row[1:]
        for row in connection.execute(
            "SELECT rolname, rolcanlogin, rolinherit, rolbypassrls, rolsuper, rolcreatedb, rolcreaterole, rolreplication "
            "FROM pg_roles WHERE rolname ^@ 'parley_'"
        )
    }
    for role, (login, inherit, bypass) in ROLES.items():
        if found.get(role) != (login, inherit, bypass, False, False, False, False):
            yield f"role {role} does not have its attributes"
    for role in sorted(set(found) - set(ROLES)):
        # The embedded server's own administrator bears the name, too; it is a superuser, and Parley never acts as it.
        if not found[role][3]:
            yield f"role {role} is not listed"
    members: dict[str, set[str]] = {}
    for role, member in connection.execute("SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members"):
        members.setdefault(str(member), set()).add(str(role))
        if role in (APP_ROLE, PLATFORM_ROLE) and member in ROLES and member != OWNER_ROLE:
            yield f"role {member} is a member of {role}"
    for role in ROLES:
        if members.get(role, set()) != MEMBER_OF.get(role, NONE):
            yield f"role {role} is a member of {', '.join(sorted(members.get(role, set()))) or 'nothing'}"
    # From PostgreSQL 16 on a membership says for itself whether it inherits.
    if connection.info.server_version >= 160000:
        for role, member in connection.execute(
            "SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members "
            "WHERE (inherit_option OR admin_option) AND member::regrole::text ^@ 'parley_' AND NOT (SELECT rolsuper FROM "
            "pg_roles r WHERE r.oid = member)"
        ):
            yield f"role {member} inherits, or may give on, the rights of {role}"


def check_schemas(connection: Connection, rules: Rules) -> Iterator[str]:
    """Nobody but the owner creates anything; nothing is granted in advance; the web role owns nothing."""
    letters = {"CREATE": "C", "USAGE": "U"}
    found: dict[str, dict[str, str]] = {}
    rows = connection.execute(
        """
        SELECT n.nspname, coalesce(r.rolname, 'PUBLIC'), x.privilege_type FROM pg_namespace n,
        aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) x LEFT JOIN pg_roles r ON r.oid = x.grantee
        WHERE n.nspname !~ '^(pg_|information_schema)' ORDER BY 1, 2, 3
        """
    )
    for schema, role, privilege in rows:
        roles = found.setdefault(str(schema), {})
        roles[str(role)] = roles.get(str(role), "") + letters[str(privilege)]
    for schema in sorted(set(found) ^ set(SCHEMAS)):
        yield f"schema {schema} is {'not listed' if schema in found else 'missing'}"
    for schema, wanted in SCHEMAS.items():
        if found.get(schema) not in (wanted, None):
            yield f"schema {schema} is granted otherwise than listed"
    for role, privilege in connection.execute(
        "SELECT coalesce(r.rolname, 'PUBLIC'), x.privilege_type FROM pg_database d, "
        "aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) x LEFT JOIN pg_roles r ON r.oid = x.grantee "
        "WHERE d.datname = current_database() AND x.grantee <> d.datdba"
    ):
        if role != OWNER_ROLE and (role not in ROLES or privilege != "CONNECT"):
            yield f"grant {privilege} on the database to {role}"
    if connection.execute("SELECT 1 FROM pg_default_acl").fetchone():
        yield "something is granted in advance, by default privileges"
    owned = "SELECT count(*) FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid WHERE s.deptype = 'o' AND r.rolname = %s"
    for role in (APP_ROLE, PLATFORM_ROLE, "parley_backup"):
        if (connection.execute(owned, (role,)).fetchone() or (0,))[0]:
            yield f"role {role} owns something"


CHECKS: tuple[Callable[[Connection, Rules], Iterator[str]], ...] = (
    check_tables,
    check_other_relations,
    check_policies,
    check_grants,
    check_foreign_keys,
    check_indexes,
    check_functions,
    check_triggers,
    check_roles,
    check_schemas,
)


def breaches(connection: Connection, rules: Rules) -> list[str]:
    """Everything in the catalogue that breaks the rules."""
    return [found for check in CHECKS for found in check(connection, rules)]
