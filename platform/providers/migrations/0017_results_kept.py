"""How long the files that a batch makes are kept, where whoever made it says so."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("providers", "0016_semantic_calibrating")]

    operations = [
        migrations.AddField(
            model_name="batch",
            name="results_kept",
            field=models.DurationField(help_text="how long its files are kept, where it says so", null=True),
        ),
    ]
