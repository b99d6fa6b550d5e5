"""Rooms know the greatest id in them, so that the next is greater, whosever clock made it."""

import uuid

from django.db import migrations, models


class Migration(migrations.Migration):
    """Of rooms that there are, the next id is that of a clock that is right: greater than what they have."""

    dependencies = [("chat", "0013_presets")]

    operations = [
        migrations.AddField(
            model_name="room",
            name="last_id",
            field=models.UUIDField(
                db_default=uuid.UUID(int=0),
                default=uuid.UUID(int=0),
                help_text="no message or generation has a greater one",
            ),
        ),
    ]
