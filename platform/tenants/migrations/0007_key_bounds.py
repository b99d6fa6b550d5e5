"""Which other keys' budgets and limits hold for a key."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0006_webhooks")]

    operations = [
        migrations.AddField(
            "apikey",
            "bound_by",
            django.contrib.postgres.fields.ArrayField(
                base_field=models.UUIDField(),
                db_default=[],
                help_text="keys whose budgets and limits hold for this one as well",
                size=None,
            ),
        ),
    ]
