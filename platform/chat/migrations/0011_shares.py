"""Conversations shared by link, and the one function that finds one: the whole digest in, at most one row out."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import kernel.constraints
import kernel.ids
from kernel.migrations import Definer, IsolateByTenant, LookupReads, PlatformJob

# Dead with its room, with the tenant's switch, and when who shared it has left the room or the tenant.
SHARE = """
    SELECT s.title::text, s.messages, s.created_at, s.expires_at
    FROM public.chat_share s
    JOIN public.tenants_tenant t ON t.id = s.tenant_id AND t.status = 'active'
    JOIN public.chat_roompolicy o ON o.tenant_id = s.tenant_id AND o.sharing
    JOIN public.chat_room r ON r.tenant_id = s.tenant_id AND r.id = s.room_id AND r.deleted_at IS NULL
    JOIN public.tenants_membership m ON m.tenant_id = s.tenant_id AND m.id = s.created_by_id AND m.status = 'active'
    JOIN public.chat_roommember p ON p.tenant_id = s.tenant_id AND p.room_id = s.room_id
        AND p.membership_id = s.created_by_id AND p.left_at IS NULL
    WHERE s.digest = given_digest AND octet_length(given_digest) = 32 AND s.revoked_at IS NULL AND s.expires_at > now()
"""


def _pointer(target: str) -> models.ForeignKey:
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        on_delete=django.db.models.deletion.DO_NOTHING,
        related_name="+",
        to=target,
    )


class Migration(migrations.Migration):
    dependencies = [("chat", "0010_retention")]

    operations = [
        migrations.CreateModel(
            name="Share",
            fields=[
                ("id", models.UUIDField(default=kernel.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ("digest", models.BinaryField(max_length=32)),
                ("title", models.CharField(max_length=200)),
                ("messages", models.JSONField()),
                ("with_others", models.BooleanField(help_text="what others wrote is in it")),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("expires_at", models.DateTimeField()),
                ("revoked_at", models.DateTimeField(null=True)),
                ("room", _pointer("chat.room")),
                ("created_by", _pointer("tenants.membership")),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["tenant", "room"], name="shares_of_room")],
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "id"), name="share_tenant_id_key"),
                    models.UniqueConstraint(fields=("digest",), name="share_digest_key"),
                    kernel.constraints.TenantForeignKey(field="room", name="share_room_fk"),
                    kernel.constraints.TenantForeignKey(field="created_by", name="share_created_by_fk"),
                ],
            },
        ),
        IsolateByTenant("chat_share"),
        LookupReads(
            "chat_share",
            "tenant_id, room_id, created_by_id, digest, title, messages, created_at, expires_at, revoked_at",
        ),
        PlatformJob("chat_share", "expire_messages", "SELECT", columns="tenant_id, expires_at"),
        LookupReads("chat_roompolicy", "tenant_id, sharing"),
        Definer(
            "share",
            "given_digest bytea",
            "TABLE (title text, messages jsonb, created_at timestamptz, expires_at timestamptz)",
            SHARE,
        ),
    ]
