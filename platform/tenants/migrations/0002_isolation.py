"""Who may touch which row, and the definer functions: all of them are listed here."""

from django.db import migrations

from kernel.migrations import (
    CURRENT_PERSON,
    CURRENT_TENANT,
    Definer,
    IsolateByTenant,
    LookupReads,
    PlatformJob,
    force_row_security,
)

ROLES = ("owner", "admin", "billing", "member", "viewer")


def add_roles(apps, schema_editor):
    """The built-in roles are the platform's rows, of no tenant."""
    role = apps.get_model("tenants", "BuiltinRole")
    role.objects.using(schema_editor.connection.alias).bulk_create([role(slug=slug) for slug in ROLES])


TENANT = [
    *force_row_security("tenants_tenant"),
    f"CREATE POLICY tenant_isolation ON tenants_tenant FOR ALL TO parley_app "
    f"USING (id = {CURRENT_TENANT}) WITH CHECK (id = {CURRENT_TENANT})",
    "GRANT SELECT, UPDATE (name, timezone) ON tenants_tenant TO parley_app",
    # Data migrations go through the tenants one by one (kernel.migrations.for_each_tenant).
    "CREATE POLICY migrations_list ON tenants_tenant FOR SELECT TO parley_owner USING (true)",
]

# A person is seen by whoever shares the tenant in force, or by themselves. CASE, not OR: only CASE promises that the second
# test, which raises without a tenant, isn't evaluated for one's own row.
PERSON = [
    *force_row_security("tenants_person"),
    f"CREATE POLICY fellow_or_self ON tenants_person FOR SELECT TO parley_app USING ("
    f"CASE WHEN id = {CURRENT_PERSON} THEN true ELSE EXISTS (SELECT FROM tenants_membership m "
    f"WHERE m.person_id = tenants_person.id AND m.tenant_id = {CURRENT_TENANT}) END)",
    f"CREATE POLICY self ON tenants_person FOR UPDATE TO parley_app "
    f"USING (id = {CURRENT_PERSON}) WITH CHECK (id = {CURRENT_PERSON})",
    "GRANT SELECT, UPDATE (name) ON tenants_person TO parley_app",
]

SECRETS = [
    *force_row_security("tenants_credential"),
    "CREATE POLICY lookup_only ON tenants_credential FOR ALL TO parley_lookup USING (true) WITH CHECK (true)",
    "GRANT SELECT ON tenants_credential TO parley_lookup",
    *force_row_security("tenants_refreshtoken"),
    "CREATE POLICY lookup_only ON tenants_refreshtoken FOR ALL TO parley_lookup USING (true) WITH CHECK (true)",
    "GRANT SELECT, INSERT, UPDATE ON tenants_refreshtoken TO parley_lookup",
]

CREDENTIAL = """
    SELECT p.id, c.password_hash::text
    FROM public.tenants_person p JOIN public.tenants_credential c ON c.person_id = p.id
    WHERE lower(p.email) = lower(given_email) AND p.is_active
"""

API_KEY = """
    SELECT k.id, k.tenant_id, k.membership_id, m.person_id, m.role::text, k.scopes::text[], k.allowed_models::text[],
           k.allowed_networks::text[], k.expires_at, t.status = 'suspended', t.epoch, m.epoch, k.epoch
    FROM public.tenants_apikey k
    JOIN public.tenants_membership m ON m.tenant_id = k.tenant_id AND m.id = k.membership_id
    JOIN public.tenants_person p ON p.id = m.person_id
    JOIN public.tenants_tenant t ON t.id = k.tenant_id
    WHERE k.lookup_id = given_id AND k.digest = given_digest AND octet_length(given_digest) = 32
      AND k.revoked_at IS NULL AND m.status = 'active' AND p.is_active
"""

# Takes no person: whose memberships are listed is whom the transaction acts for.
MY_MEMBERSHIPS = """
    SELECT m.id, m.role::text, m.epoch, t.id, t.slug::text, t.name::text, t.status = 'suspended', t.epoch
    FROM public.tenants_membership m JOIN public.tenants_tenant t ON t.id = m.tenant_id
    WHERE m.person_id = NULLIF(current_setting('app.person_id', true), '')::uuid AND m.status = 'active'
    ORDER BY lower(t.name), t.id LIMIT 100
"""

SESSION_START = """
    INSERT INTO public.tenants_refreshtoken
        (id, family_id, digest, person_id, tenant_ref, issued_at, expires_at)
    VALUES (given_family, given_family, given_digest, given_person, given_tenant, now(), given_expiry)
"""

SESSION_ROTATE = """
DECLARE
    parent public.tenants_refreshtoken;
    child public.tenants_refreshtoken;
BEGIN
    SELECT * INTO parent FROM public.tenants_refreshtoken r WHERE r.digest = given_digest FOR UPDATE;
    IF parent.id IS NULL THEN
        RETURN;
    END IF;
    person_id := parent.person_id;
    tenant_ref := parent.tenant_ref;
    IF parent.revoked_at IS NOT NULL OR parent.expires_at <= clock_timestamp() THEN
        outcome := 'ended';
    ELSIF parent.spent_at IS NULL THEN
        UPDATE public.tenants_refreshtoken r
        SET spent_at = clock_timestamp(), used_at = clock_timestamp() WHERE r.id = parent.id;
        INSERT INTO public.tenants_refreshtoken
            (id, family_id, digest, person_id, tenant_ref, issued_at, expires_at)
        VALUES (child_id, parent.family_id, child_digest, parent.person_id, parent.tenant_ref, now(), child_expiry);
        outcome := 'minted';
    ELSE
        SELECT * INTO child FROM public.tenants_refreshtoken r WHERE r.digest = child_digest FOR UPDATE;
        IF child.id IS NOT NULL AND child.used_at IS NULL AND child.revoked_at IS NULL
           AND clock_timestamp() < parent.spent_at + grace THEN
            outcome := 'replayed';
        ELSE
            UPDATE public.tenants_refreshtoken r SET revoked_at = clock_timestamp()
            WHERE r.family_id = parent.family_id AND r.revoked_at IS NULL;
            outcome := 'reused';
        END IF;
    END IF;
    RETURN NEXT;
END
"""

SESSION_END = """
    UPDATE public.tenants_refreshtoken r SET revoked_at = clock_timestamp()
    WHERE r.revoked_at IS NULL
      AND r.family_id = (SELECT f.family_id FROM public.tenants_refreshtoken f WHERE f.digest = given_digest)
"""

# All sessions of one member of the tenant in force.
SESSIONS_END = """
    UPDATE public.tenants_refreshtoken r SET revoked_at = clock_timestamp()
    FROM public.tenants_membership m
    WHERE m.id = given_membership AND m.tenant_id = current_setting('app.tenant_id')::uuid
      AND r.person_id = m.person_id AND r.tenant_ref = m.tenant_id AND r.revoked_at IS NULL
"""

FUNCTIONS = [
    Definer("credential", "given_email text", "TABLE (person_id uuid, password_hash text)", CREDENTIAL),
    Definer(
        "api_key",
        "given_id text, given_digest bytea",
        "TABLE (id uuid, tenant_id uuid, membership_id uuid, person_id uuid, role text, scopes text[], "
        "allowed_models text[], allowed_networks text[], expires_at timestamptz, tenant_suspended boolean, "
        "tenant_epoch integer, membership_epoch integer, key_epoch integer)",
        API_KEY,
    ),
    Definer(
        "my_memberships",
        "",
        "TABLE (membership_id uuid, role text, membership_epoch integer, tenant_id uuid, slug text, name text, "
        "suspended boolean, tenant_epoch integer)",
        MY_MEMBERSHIPS,
    ),
    Definer(
        "session_start",
        "given_family uuid, given_digest bytea, given_person uuid, given_tenant uuid, given_expiry timestamptz",
        "void",
        SESSION_START,
        volatility="VOLATILE",
    ),
    Definer(
        "session_rotate",
        "given_digest bytea, child_id uuid, child_digest bytea, child_expiry timestamptz, grace interval",
        "TABLE (outcome text, person_id uuid, tenant_ref uuid)",
        SESSION_ROTATE,
        volatility="VOLATILE",
        language="plpgsql",
    ),
    Definer("session_end", "given_digest bytea", "void", SESSION_END, volatility="VOLATILE"),
    Definer("sessions_end", "given_membership uuid", "void", SESSIONS_END, volatility="VOLATILE"),
]

PLATFORM = [
    PlatformJob("tenants_tenant", "ops", "SELECT"),
    PlatformJob("tenants_tenant", "ops", "INSERT"),
    PlatformJob("tenants_tenant", "ops", "UPDATE"),
    PlatformJob("tenants_person", "ops", "SELECT"),
    PlatformJob("tenants_person", "ops", "INSERT"),
    PlatformJob("tenants_credential", "ops", "INSERT"),
    *(
        PlatformJob(table, "ops", command, within_tenant="tenant_id")
        for table, commands in (
            ("tenants_membership", ("SELECT", "INSERT", "UPDATE")),
            ("tenants_apikey", ("SELECT", "INSERT")),
            ("tenants_auditevent", ("SELECT", "INSERT")),
        )
        for command in commands
    ),
]


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]

    operations = [
        migrations.RunPython(add_roles, migrations.RunPython.noop),
        migrations.RunSQL("GRANT SELECT ON tenants_builtinrole TO parley_app, parley_platform"),
        # Which migrations have run is no secret, and Django's own checks want to know it.
        migrations.RunSQL("GRANT SELECT ON django_migrations TO parley_app"),
        migrations.RunSQL(TENANT),
        IsolateByTenant("tenants_membership", grants=("SELECT", "INSERT", "UPDATE")),
        IsolateByTenant("tenants_apikey", grants=("SELECT", "INSERT", "UPDATE")),
        IsolateByTenant("tenants_auditevent", grants=("SELECT", "INSERT")),
        migrations.RunSQL(PERSON),
        migrations.RunSQL(SECRETS),
        LookupReads("tenants_tenant", "id, slug, name, status, epoch"),
        LookupReads("tenants_person", "id, email, is_active"),
        LookupReads("tenants_membership", "id, tenant_id, person_id, role, status, epoch"),
        LookupReads(
            "tenants_apikey",
            "id, tenant_id, membership_id, lookup_id, digest, scopes, allowed_models, allowed_networks, expires_at, "
            "revoked_at, epoch",
        ),
        *FUNCTIONS,
        *PLATFORM,
    ]
