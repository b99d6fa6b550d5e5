"""Whether an entry was shared among members when it was written."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("providers", "0013_semantic_cache"),
    ]

    operations = [
        migrations.AddField(
            model_name="semanticentry",
            name="shared",
            field=models.BooleanField(
                default=False, help_text="among members, by the tenant's settings when it was written"
            ),
        ),
    ]
