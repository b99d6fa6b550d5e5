"""Which room an answer was kept for, so that it goes when what was said there is deleted."""

from django.db import migrations, models

from kernel.migrations import AddIndex


class Migration(migrations.Migration):
    dependencies = [("providers", "0014_semantic_shared")]

    operations = [
        migrations.AddField(
            model_name="cacheentry",
            name="subject_id",
            field=models.UUIDField(help_text="the room that asked, if one did", null=True),
        ),
        AddIndex(
            model_name="cacheentry",
            index=models.Index(
                condition=models.Q(("subject_id__isnull", False)),
                fields=["tenant", "subject_id"],
                name="cache_entry_subject",
            ),
        ),
    ]
