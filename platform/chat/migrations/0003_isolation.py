"""Who may touch rooms and what is in them."""

from django.db import migrations

from kernel.migrations import IsolateByTenant, PlatformJob


class Migration(migrations.Migration):
    dependencies = [("chat", "0002_room_events"), ("tenants", "0002_isolation")]

    operations = [
        IsolateByTenant("chat_room"),
        IsolateByTenant("chat_roommember"),
        IsolateByTenant("chat_message"),
        IsolateByTenant("chat_generation"),
        # What happened can't be unsaid, and a receipt holds for ever.
        IsolateByTenant("chat_roomevent", grants=("SELECT", "INSERT")),
        IsolateByTenant("chat_commandreceipt", grants=("SELECT", "INSERT")),
        # The reaper finds generations whose process died; it ends each of them as the tenant.
        PlatformJob(
            "chat_generation",
            "reap_generations",
            "SELECT",
            columns="id, tenant_id, status, lease_until, started_at",
        ),
    ]
