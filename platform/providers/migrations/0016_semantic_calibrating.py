"""Which tenants' semantic caches may be calibrated, for the task that asks; and which room an entry or an audit is of, so
that it goes when what was said there is deleted."""

from django.db import migrations, models

from kernel.migrations import AddIndex, PlatformJob


class Migration(migrations.Migration):
    dependencies = [
        ("providers", "0015_cache_subject"),
    ]

    operations = [
        *(
            migrations.AddField(
                model_name=model,
                name="subject_id",
                field=models.UUIDField(help_text="the room that asked, if one did", null=True),
            )
            for model in ("semanticentry", "semanticaudit")
        ),
        AddIndex(
            model_name="semanticentry",
            index=models.Index(
                condition=models.Q(("subject_id__isnull", False)),
                fields=["tenant", "subject_id"],
                name="semantic_entry_subject",
            ),
        ),
        PlatformJob("providers_cachenamespace", "calibrate", "SELECT", columns="tenant_id, enabled, semantic"),
    ]
