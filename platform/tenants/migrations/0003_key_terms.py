"""What a key says of priority and pace, and that it is found with them."""

from django.db import migrations, models

from kernel.migrations import LOOKUP, OWNER, AddConstraint, Definer

API_KEY = """
    SELECT k.id, k.tenant_id, k.membership_id, m.person_id, m.role::text, k.scopes::text[], k.allowed_models::text[],
           k.allowed_networks::text[], k.expires_at, t.status = 'suspended', t.epoch, m.epoch, k.epoch,
           k.lookup_id::text, k.max_priority::text, k.pace_tokens_per_s
    FROM public.tenants_apikey k
    JOIN public.tenants_membership m ON m.tenant_id = k.tenant_id AND m.id = k.membership_id
    JOIN public.tenants_person p ON p.id = m.person_id
    JOIN public.tenants_tenant t ON t.id = k.tenant_id
    WHERE k.lookup_id = given_id AND k.digest = given_digest AND octet_length(given_digest) = 32
      AND k.revoked_at IS NULL AND m.status = 'active' AND p.is_active
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0002_isolation")]

    operations = [
        migrations.AddField(
            "apikey",
            "max_priority",
            models.CharField(
                max_length=16, default="normal", help_text="the highest class that requests with this key may ask for"
            ),
        ),
        migrations.AddField(
            "apikey",
            "pace_tokens_per_s",
            models.PositiveIntegerField(null=True, help_text="how fast answers are streamed; null: at once"),
        ),
        AddConstraint(
            "apikey",
            models.CheckConstraint(
                name="api_key_max_priority", condition=models.Q(max_priority__in=["interactive", "normal", "batch"])
            ),
        ),
        AddConstraint(
            "apikey",
            models.CheckConstraint(
                name="api_key_pace_positive",
                condition=models.Q(pace_tokens_per_s=None) | models.Q(pace_tokens_per_s__gte=1),
            ),
        ),
        # A function that answers with other columns is another function.
        migrations.RunSQL(
            [
                f"GRANT SELECT (max_priority, pace_tokens_per_s) ON tenants_apikey TO {LOOKUP}",
                f"SET LOCAL ROLE {LOOKUP}",
                "DROP FUNCTION lookup.api_key(text, bytea)",
                f"SET LOCAL ROLE {OWNER}",
            ]
        ),
        Definer(
            "api_key",
            "given_id text, given_digest bytea",
            "TABLE (id uuid, tenant_id uuid, membership_id uuid, person_id uuid, role text, scopes text[], "
            "allowed_models text[], allowed_networks text[], expires_at timestamptz, tenant_suspended boolean, "
            "tenant_epoch integer, membership_epoch integer, key_epoch integer, lookup_id text, max_priority text, "
            "pace_tokens_per_s integer)",
            API_KEY,
        ),
    ]
