"""When people are told that little is left of what was paid in advance."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("billing", "0013_budget_owners")]

    operations = [
        migrations.AddField(
            model_name="funds",
            name="low_at_nano",
            field=models.BigIntegerField(default=0, help_text="people are told when less than this is left"),
        ),
        migrations.AddField(
            model_name="funds",
            name="low_told_at",
            field=models.DateTimeField(
                help_text="when they were; None: there is more, or it wasn't noticed", null=True
            ),
        ),
    ]
