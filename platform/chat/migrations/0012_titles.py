"""Whether models give a tenant's rooms their titles."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("chat", "0011_shares")]

    operations = [
        migrations.AddField(
            model_name="roompolicy",
            name="titles",
            field=models.BooleanField(
                db_default=True, default=True, help_text="whether models give rooms their titles"
            ),
        ),
    ]
