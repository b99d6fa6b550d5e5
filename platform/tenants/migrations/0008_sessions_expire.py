"""Refresh tokens whose time is over are deleted."""

from django.db import migrations

from kernel.migrations import LOOKUP, PLATFORM, Definer

SESSIONS_EXPIRE = """
    WITH gone AS (
        DELETE FROM public.tenants_refreshtoken r WHERE r.id IN (
            SELECT o.id FROM public.tenants_refreshtoken o WHERE o.expires_at <= now() ORDER BY o.expires_at LIMIT most
        ) RETURNING 1
    )
    SELECT count(*)::integer FROM gone
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0007_key_bounds")]

    operations = [
        migrations.RunSQL(
            f"GRANT DELETE ON tenants_refreshtoken TO {LOOKUP}", f"REVOKE DELETE ON tenants_refreshtoken FROM {LOOKUP}"
        ),
        Definer("sessions_expire", "most integer", "integer", SESSIONS_EXPIRE, volatility="VOLATILE", caller=PLATFORM),
    ]
