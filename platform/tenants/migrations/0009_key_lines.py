"""Which key a rotated one's successors descend from: what was kept for it is theirs."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0008_sessions_expire")]

    operations = [
        migrations.AddField(
            "apikey",
            "line",
            models.UUIDField(
                null=True, help_text="the first of the keys that this one came from by rotation; null: itself"
            ),
        ),
    ]
