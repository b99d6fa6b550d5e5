"""When a connection's provider was last asked which models it serves."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("providers", "0010_batches")]

    operations = [
        migrations.AddField(
            model_name=model_name,
            name="models_asked_at",
            field=models.DateTimeField(help_text="when a round last asked its provider for its models", null=True),
        )
        for model_name in ("connection", "platformconnection")
    ]
